/**
 * Light or dark, before anything is drawn. A classic script, so that the page never flashes in the other one.
 *
 * Enters: what the reader chose last ("light", "dark", or nothing: as the system is). Leaves: data-theme of the root.
 */
"use strict";
(() => {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    let chosen = null;
    try {
      chosen = localStorage.getItem("sdn.theme");
    } catch {
      // storage may be forbidden; then it is as the system is
    }
    const theme = chosen === "light" || chosen === "dark" ? chosen : system.matches ? "dark" : "light";
    document.documentElement.dataset.theme = theme;
    document.documentElement.dataset.chosen = chosen || "auto";
  };
  apply();
  system.addEventListener("change", apply);
  addEventListener("sdn-theme", apply);
})();
