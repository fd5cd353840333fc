"""EDGE: a lab over HTTP: resources, events, history, metrics, Ryu's paths, and the page in the browser.

Enters: requests. Leaves: a new Model to the store, or what the store and the switches say. Never: a way to change the
network of its own: what a request asks for is an edit of the topology's entries, with the file's own checks.

    request ─ gate ─▶ crud, topology ─ edit ─▶ Model ─▶ store ─▶ controller, agent
    answer  ◀─ resources ─ Model, Facts ◀─ live ◀─ store           events ◀─ live

`app.create_app` puts the routers together. It runs as a process of each lab, on a unix socket, started when somebody
first calls (`server`, `sdn.lab.api`), and by `sdn serve` wherever one likes; they share nothing but the store.
"""
