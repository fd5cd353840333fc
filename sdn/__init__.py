"""The control plane: topology files, the model, the flow pipeline, the store, the controller and the command line."""
