"use strict";
// Fills the list of answers from the compressed chunks. Text of models reaches the page through textContent only.
(() => {
  const PAGE = 8, FIRST = 4;
  const $ = (selector) => document.querySelector(selector);

  // ---- data -----------------------------------------------------------------------------------------------
  if (typeof DecompressionStream === "undefined") return; // The plain probes stay.
  const unpack = async (text) => {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  };
  let index, chunks, state;

  // ---- building nodes -------------------------------------------------------------------------------------
  const make = (tag, name, ...children) => {
    const node = document.createElement(tag);
    if (name) node.className = name;
    node.append(...children);
    return node;
  };
  const word = (key) => {
    const fragment = document.createDocumentFragment();
    ["en", "ja"].forEach((language, i) => {
      const span = make("span", "", index.words[key][i]);
      span.lang = language;
      fragment.append(span);
    });
    return fragment;
  };
  const HIDDEN = /(HIDDEN_IN_SCRIPT)/u; // the table of core/text.py is put in its place
  const picture = (c) => `⟨U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`;
  const write = (node, text) => text.split(HIDDEN).forEach((part, i) => {
    if (part) node.append(i % 2 ? make("i", "", picture(part)) : part);
  });
  const quoted = (text) => text.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");
  // ---- one answer -----------------------------------------------------------------------------------------
  let leaks = null;
  const LEAKED = 2;
  // Returns for each character whether the control's answer lacks it (1), or whether it is leaked template text.
  const painted = (text, control) => {
    const paint = control === null ? new Uint8Array(text.length) : differing(text, control);
    for (const found of leaks ? text.matchAll(leaks) : []) paint.fill(LEAKED, found.index, found.index + found[0].length);
    return paint;
  };
  const said = (text, control) => {
    const node = make("div", "said");
    if (text.length > 300) node.tabIndex = 0; // It may scroll: reachable by keyboard.
    if (!text) node.append(make("em", "", word("empty")));
    const paint = painted(text, control);
    for (let from = 0, to; from < text.length; from = to) {
      for (to = from + 1; to < text.length && paint[to] === paint[from];) to += 1;
      const into = paint[from] ? make(paint[from] === LEAKED ? "mark" : "ins") : node;
      if (paint[from] === LEAKED) into.title = index.words.leaked.join(" / ");
      if (into !== node) node.append(into);
      write(into, text.slice(from, to));
    }
    return node;
  };
  const dot = (cell) => (index.hues[cell] === null ? "" : make("i", "dot c" + index.hues[cell] % 6));

  // ---- one probe ------------------------------------------------------------------------------------------
  const tally = (chunk, cell) => {
    const counts = new Map(), place = index.metrics.indexOf(state.metric);
    for (const [seed, ...texts] of chunk.cells[cell] || []) {
      if (state.seed !== "" && seed !== null && String(seed) !== state.seed) continue;
      for (const [text, cut, scores] of texts.map((t) => chunk.texts[t])) {
        const entry = { text, cut, score: place < 0 ? undefined : scores[place], times: 0 };
        const key = JSON.stringify(entry);
        if (!counts.has(key)) counts.set(key, entry);
        counts.get(key).times += 1;
      }
    }
    return [...counts.values()].sort((a, b) => b.times - a.times);
  };
  const line = ({ text, cut, score, times }, control) => {
    const same = control.includes(text), against = state.marks && control.length && !same ? control[0] : null;
    const item = make("li", same ? "same" : "", make("span", "times", "×" + times), said(text, against));
    if (cut) item.append(make("small", "cut", word("unfinished")));
    if (score !== undefined) {
      const note = make("small", "", `${state.metric} ${score === null ? "–" : score}`);
      note.title = index.signatures[state.metric];
      item.append(note);
    }
    return item;
  };
  const heap = (chunk, cell, control) => {
    const counts = tally(chunk, cell), total = counts.reduce((sum, entry) => sum + entry.times, 0);
    const note = make("small", "", `${total} `, word("answered"), ` · ${counts.length} `, word("distinct"));
    const head = make("h4", "", dot(cell));
    write(head, index.names[cell]);
    if (cell === state.control && state.cells.length > 1) head.append(" ", make("b", "tag", word("control")));
    head.append(" ", note);
    const list = make("ol"), box = make("section", "", head, list);
    const fill = (from, to) => counts.slice(from, to).forEach((entry) => list.append(line(entry, control)));
    fill(0, FIRST);
    if (!total) list.append(make("li", "small", word("none")));
    if (counts.length > FIRST) {
      const button = make("button", "", word("more"), ` (${counts.length - FIRST})`);
      button.type = "button";
      button.addEventListener("click", () => { fill(FIRST); button.remove(); });
      box.append(button);
    }
    return box;
  };
  const earlier = (before) => {
    const list = make("dl", "before");
    for (const [who, text] of before) {
      const node = make("dd");
      node.dir = "auto";
      write(node, text);
      list.append(make("dt", "", word("role." + who)), node);
    }
    return before.length ? [list, make("p", "role", word("role.user"))] : [];
  };
  const article = (probe, chunk) => {
    const [id, cluster, before, instruction, input, ...references] = probe;
    const node = make("article", "probe"), head = make("h3"), question = make("p", "asked");
    write(head, id);
    head.append(make("small", "", word("cluster"), " " + cluster));
    write(question, instruction);
    node.append(head, ...earlier(before), question);
    if (input) { const more = make("p", "asked input"); write(more, input); node.append(more); }
    if (references.length) {
      const right = make("p", "small", word("reference"), ": ");
      write(right, references.join(" / "));
      node.append(right);
    }
    const control = tally(chunk, state.control).map((entry) => entry.text);
    const row = make("div", "cells", ...state.cells.map((cell) => heap(chunk, cell, cell === state.control ? [] : control)));
    const columns = new Set(state.cells.map((cell) => index.cells[cell][1])).size;
    row.style.setProperty("--columns", Math.min(4, state.cells.length < 5 ? state.cells.length : columns));
    node.append(row);
    return node;
  };

  // ---- which probes ---------------------------------------------------------------------------------------
  const differs = (chunk) => {
    const seen = state.cells.map((cell) => JSON.stringify(
      [...new Set(tally(chunk, cell).map((entry) => (state.metric === "" ? entry.text : String(entry.score))))].sort()));
    return new Set(seen).size > 1;
  };
  const holds = (probe, chunk) => {
    if (!state.search) return true;
    const within = (text) => text.toLowerCase().includes(state.search);
    const [id, , before, ...texts] = probe;
    return [id, ...before.map((turn) => turn[1]), ...texts].some(within) ||
      state.cells.some((cell) => tally(chunk, cell).some((entry) => within(entry.text)));
  };
  let turn = 0;
  const status = (...parts) => $(".status").replaceChildren(...parts);
  // The list shows PAGE probes at a time, so that it stays light however long it is.
  const show = async () => {
    const mine = ++turn, before = PAGE * (state.starts.length - 1);
    let place = state.starts.at(-1), found = 0;
    $(".more [name=next]").disabled = true; // Where its page begins is not known yet.
    $(".probes").replaceChildren();
    while (place < index.probes.length && found < PAGE) {
      const probe = index.probes[place], chosen = state.cluster === "" || probe[1] === state.cluster;
      if (place % 16 === 0) status(word("looking"));
      const chunk = chosen && await unpack(chunks[place]);
      if (mine !== turn) return; // A newer filter or another page has taken over.
      place += 1;
      if (!chosen) continue;
      if (!holds(probe, chunk) || (state.differ && state.cells.length > 1 && !differs(chunk))) continue;
      $(".probes").append(article(probe, chunk));
      found += 1;
    }
    const rest = place < index.probes.length, range = found ? `${before + 1}–${before + found}` : "0";
    state.next = place;
    $(".more [name=next]").disabled = !rest;
    $(".more [name=previous]").disabled = !before;
    $(".more").hidden = !rest && !before;
    status(`${range} / ${index.probes.length} `, word("found"), ...(rest ? [] : [" · ", word("end")]));
  };
  const turnTo = (starts) => {
    state.starts = starts;
    $(".status").scrollIntoView();
    $(".status").focus({ preventScroll: true });
    show();
  };

  // ---- tools ----------------------------------------------------------------------------------------------
  const option = (value, text) => { const node = make("option", "", text); node.value = value; return node; };
  const choices = (name, values) => {
    const anything = index.words.all.join(" / ");
    $(`.tools [name=${name}]`).replaceChildren(option("", name === "metric" ? "–" : anything), ...values.map((v) => option(v, v)));
  };
  const boxes = () => [...document.querySelectorAll(".picker input")];
  const pick = (cells) => boxes().forEach((box) => { box.checked = cells.includes(Number(box.value)); });
  const read = () => {
    const form = $(".tools").elements;
    state = {
      search: form.search.value.trim().toLowerCase(), cluster: form.cluster.value, seed: form.seed.value,
      metric: form.metric.value, differ: form.differ.checked, marks: form.marks.checked, starts: [0],
      cells: boxes().filter((box) => box.checked).map((box) => Number(box.value)),
    };
    controls(form.control);
    state.control = Number(form.control.value);
    show();
  };
  const called = (cell) => cell.map((name) => name || "base").join("@");
  // Any chosen cell may be the control; the one that was stays where it can.
  const controls = (select, wanted = select.value) => {
    const cells = state.cells.length ? state.cells : [0];
    select.replaceChildren(...cells.map((cell) => option(String(cell), called(index.cells[cell]))));
    select.value = cells.map(String).includes(wanted) ? wanted : String(cells[0]);
  };
  const picker = () => {
    const columns = [...new Set(index.cells.map((c) => c[1]))], rows = [...new Set(index.cells.map((c) => c[0]))];
    const header = (text, scope) => { const th = make("th", "", text); th.scope = scope; return th; };
    const table = $(".picker table");
    table.append(make("tr", "", make("td"), ...columns.map((c) => header(c, "col"))));
    for (const row of rows) {
      const line = make("tr", "", header(row === null ? "base" : row, "row"));
      for (const column of columns) {
        const place = index.cells.findIndex((c) => c[0] === row && c[1] === column), slot = make("td");
        if (place >= 0) {
          const box = make("input");
          box.type = "checkbox"; box.value = place;
          box.setAttribute("aria-label", called([row, column]));
          slot.append(box);
        }
        line.append(slot);
      }
      table.append(line);
    }
  };
  const follow = () => {
    let asked = "";
    try { asked = decodeURIComponent(location.hash.slice(1)); } catch { return false; }
    const [metric, ...names] = asked.split(";");
    if (!metric.startsWith("show=")) return false;
    const form = $(".tools").elements, name = metric.slice(5);
    $(".tools").reset(); // A filter that stayed would hide answers behind the number.
    const places = names.map((wanted) => index.cells.findIndex((cell) => called(cell) === wanted)).filter((i) => i >= 0);
    pick(places);
    form.metric.value = name;
    if (form.metric.selectedIndex < 0) form.metric.value = "";
    state = { cells: [...places].sort((a, b) => a - b) };
    controls(form.control, String(places.at(-1))); // A comparison names its control last.
    read();
    followed(name, names);
    $("#answers").scrollIntoView();
    $("#answers h2").focus({ preventScroll: true });
    return true;
  };
  // Says which number was followed, by its signature, and where its scores are if not beside the answers.
  const followed = (metric, names) => {
    const note = $(".followed"), code = make("code", "", index.signatures[metric] || "");
    const back = make("a", "", word("back"));
    note.replaceChildren();
    write(note, `${metric} · ${names.join(" − ")} · `);
    note.append(code);
    if (!index.metrics.includes(metric)) note.append(make("br"), make("code", "", metric), " ", word("apart"));
    const from = [...document.querySelectorAll("main a")].find((link) => link.hash === location.hash);
    if (from) {
      back.href = "#" + from.closest("section").id;
      back.addEventListener("click", (event) => {
        event.preventDefault();
        from.scrollIntoView({ block: "center" });
        from.focus({ preventScroll: true });
      });
      note.append(" · ", back);
    }
    note.hidden = false;
  };
  const start = async () => {
    index = await unpack($("#index").textContent);
    if (!index.cells.length) return; // A run without probes has no answers to look through.
    chunks = $("#chunks").textContent.split("\n");
    if (index.markers.length) leaks = new RegExp(index.markers.map(quoted).join("|"), "gu");
    choices("cluster", [...new Set(index.probes.map((p) => p[1]))]);
    choices("seed", index.seeds.map(String));
    choices("metric", index.metrics);
    picker();
    const form = $(".tools");
    form.hidden = false;
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("change", () => { $(".followed").hidden = true; read(); });
    let waiting = 0;
    form.elements.search.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(read, 250); });
    form.elements.matched.addEventListener("click", () => { pick(index.own); read(); });
    form.elements.all.addEventListener("click", () => { pick(index.cells.map((_, i) => i)); read(); });
    $(".more [name=next]").addEventListener("click", () => turnTo([...state.starts, state.next]));
    $(".more [name=previous]").addEventListener("click", () => turnTo(state.starts.slice(0, -1)));
    addEventListener("hashchange", follow);
    pick(index.first);
    if (!follow()) read();
  };
  start();
})();
