"use strict";
// Language, keys and streamed answers. Text of models reaches the page through textContent only.
(() => {
  const $ = (selector) => document.querySelector(selector);

  // ---- language: the server reads the cookie, so the next page and the next start speak it from the beginning ----
  for (const input of document.querySelectorAll(".switch input"))
    input.addEventListener("change", () => {
      document.documentElement.lang = input.value;
      document.cookie = `iikata_language=${input.value}; path=/; max-age=31536000; samesite=strict`;
    });

  // ---- a server that is gone is told once, and taken back when it answers ---------------------------------------
  const lost = (is, why = "") => { $("#lost").hidden = !is; $("#why").textContent = why; };
  document.addEventListener("htmx:error", () => lost(true));
  document.addEventListener("htmx:after:request", ({ detail: { ctx } }) => {
    const refused = ctx.response.status >= 400;
    lost(refused, refused ? ctx.text : "");
  });

  // ---- rating: keys press the buttons that bear them ------------------------------------------------------------
  // A pair is in the page for a moment before htmx knows its form: what comes then is dropped, not sent as a plain form.
  document.addEventListener("submit", (event) => { if (event.target.matches("[hx-post]")) event.preventDefault(); });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.isComposing) return;
    if (event.target.closest("input, textarea, select")) return;
    const key = event.key.toLowerCase();
    const button = [...document.querySelectorAll("[data-keys]")].find((b) => b.dataset.keys.split(" ").includes(key));
    if (!button) return;
    event.preventDefault();
    button.click();
  });

  // ---- asking ---------------------------------------------------------------------------------------------------
  const form = $("#question");
  if (!form) return;
  let asking = null;
  const state = (name, more = "") => {
    for (const span of document.querySelectorAll("[data-state]")) span.hidden = span.dataset.state !== name;
    $("#more").textContent = more;
  };
  const copy = (id) => $(id).content.firstElementChild.cloneNode(true);
  const lay = (fields) => {
    const rows = new Map(), templates = fields.getAll("template");
    const cells = fields.getAll("arm").flatMap((arm) => templates.map((name) => `${arm}@${name}`));
    $("#heard").style.setProperty("--columns", Math.min(4, templates.length > 1 ? templates.length : cells.length));
    $("#heard").replaceChildren(...cells.map((cell) => {
      const card = copy("#cell");
      card.querySelector("h3").textContent = cell;
      for (let sample = 0; sample < Number(fields.get("samples")); sample++) {
        const row = copy("#row");
        rows.set(`${cell} ${sample}`, row);
        card.querySelector("ol").append(row);
      }
      return card;
    }));
    return rows;
  };
  const hear = (rows, said) => {
    if (said.state) { state(said.state, said.message ?? said.ahead); return; }
    const row = rows.get(`${said.cell} ${said.sample}`);
    row.dataset.finish = said.finish;
    state("answering", `${[...rows.values()].filter((one) => one.dataset.finish).length} / ${rows.size}`);
    row.querySelector(".text").textContent = said.text;
    row.querySelector(".cut").hidden = said.finish !== "length";
  };
  const listen = async (response, rows) => {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = "", part; !(part = await reader.read()).done;) {
      const events = (rest + part.value).split("\n\n");
      rest = events.pop();
      for (const event of events) hear(rows, JSON.parse(event.slice("data: ".length)));
    }
  };
  const busy = (is) => { $("#stop").hidden = !is; $("#heard").setAttribute("aria-busy", is); };
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    asking?.abort();
    const mine = asking = new AbortController(), fields = new FormData(form), rows = lay(fields);
    busy(true);
    try {
      const headers = { "x-csrf-token": form.dataset.csrf };
      const body = new URLSearchParams(fields);
      const response = await fetch(form.action, { method: "POST", headers, body, signal: mine.signal });
      if (response.ok) await listen(response, rows); else state("failed", await response.text());
      lost(false);
    } catch (error) {
      if (mine.signal.aborted) { if (mine === asking) state("stopped"); } else { state(""); lost(true); }
    }
    if (mine === asking) busy(false);
  });
  $("#stop").addEventListener("click", () => asking?.abort());
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); form.requestSubmit(); }
  });
})();
