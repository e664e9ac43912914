"use strict";
// Shows the page in the reader's language, and every fold where it is printed.
(() => {
  const $ = (selector) => document.querySelector(selector);
  const remember = (value) => {
    try { return value ? localStorage.setItem("iikata.language", value) : localStorage.getItem("iikata.language"); }
    catch { return null; } // A page opened from a file may have no storage.
  };
  const speak = (language) => { $("#" + language).checked = true; document.documentElement.lang = language; };
  const asked = new URLSearchParams(location.search).get("lang") || remember() || navigator.language.slice(0, 2);
  speak(asked === "ja" ? "ja" : "en");
  for (const input of document.querySelectorAll(".switch input"))
    input.addEventListener("change", () => { speak(input.value); remember(input.value); });
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((d) => { d.open = true; }));
})();
