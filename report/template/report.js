// Chips, sorting, address, CSV. Every row and figure is in the page already: this only sorts, filters and shows.
(() => {
  "use strict";
  document.documentElement.classList.add("scripted");
  const table = document.getElementById("leaderboard");
  const chips = [...document.querySelectorAll("fieldset.chips")];
  const dimensions = chips.map((set) => set.dataset.chip);
  const heads = table ? [...table.querySelectorAll("thead th[data-key]")] : [];
  const body = table && table.tBodies[0];
  const rows = body ? [...body.rows] : [];
  const scatters = [...document.querySelectorAll("#scatters > *")];
  const pressed = (set) => set.querySelector("[aria-pressed='true']");
  const first = Object.fromEntries(chips.map((set) => [set.dataset.chip, pressed(set).dataset.value]));
  const state = { ...first, sort: "ndcg", order: "" };

  // One element per view: what can be chosen.
  const views = [...new Map(rows.map((row) => [dimensions.map((d) => row.dataset[d]).join("\n"), row])).values()];
  const is = (element) => dimensions.every((d) => element.dataset[d] === state[d]);
  // How much of what is wanted a view has; a chip counts more than all those right of it.
  const weight = (view, wanted) => dimensions.reduce((sum, d) => 2 * sum + (view.dataset[d] === wanted[d]), 0);
  const leftOf = (chip) => dimensions.slice(0, dimensions.indexOf(chip));

  // Views with a value of a chip that keep what is chosen left of it.
  function able(chip, value) {
    return views.filter((view) => view.dataset[chip] === value && leftOf(chip).every((d) => view.dataset[d] === state[d]));
  }

  // Show the view of the greatest score; earlier views win.
  function take(among, score) {
    const view = among.reduce((best, own) => (!best || score(own) > score(best) ? own : best), null);
    if (view) for (const d of dimensions) state[d] = view.dataset[d];
  }

  function head(key) {
    return heads.find((th) => th.dataset.key === key);
  }

  function direction() {
    return state.order || head(state.sort).dataset.first;
  }

  function sort() {
    const sign = direction() === "ascending" ? 1 : -1;
    const value = (row) => {
      const text = row.querySelector(`[data-key="${state.sort}"]`).dataset.sort;
      return text === undefined ? null : state.sort === "model" ? text.toLowerCase() : Number(text);
    };
    const keyed = rows.filter(is).map((row) => [value(row), row]);
    keyed.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null); // what is missing comes last
      return a < b ? -sign : a > b ? sign : 0;
    });
    body.append(...keyed.map(([, row]) => row));
    for (const th of heads) {
      if (th.dataset.key === state.sort) th.setAttribute("aria-sort", direction());
      else th.removeAttribute("aria-sort");
    }
  }

  function show() {
    for (const row of rows) row.hidden = !is(row);
    const shown = rows.find(is);
    table.dataset.kind = shown ? shown.dataset.kind : "";
    if (state.sort === "memory" && table.dataset.kind !== "cuda") Object.assign(state, { sort: "ndcg", order: "" });
    sort();
    for (const figure of scatters) figure.hidden = !is(figure);
    for (const line of document.querySelectorAll("p.about")) line.hidden = line.dataset.dataset !== state.dataset;
    for (const line of document.querySelectorAll("p.advice")) line.hidden = !is(line);
    const said = [];
    for (const set of chips) {
      for (const button of set.querySelectorAll("button")) {
        button.setAttribute("aria-pressed", String(button.dataset.value === state[set.dataset.chip]));
        button.disabled = !able(set.dataset.chip, button.dataset.value).length;
        button.title = button.disabled ? `not measured with ${said.join(", ")}` : "";
      }
      said.push(pressed(set).textContent);
    }
  }

  // --- address: #dataset=..&length=..&track=..&seen=..&machine=..&sort=.. ---

  function address() {
    const parts = new URLSearchParams();
    for (const d of dimensions) parts.set(d, state[d]);
    parts.set("sort", state.sort);
    if (state.order && state.order !== head(state.sort).dataset.first) parts.set("order", state.order);
    return `#${parts}`;
  }

  function read() {
    const hash = location.hash.slice(1);
    if (hash && !hash.includes("=")) return; // a link to a part of the page
    const parts = new URLSearchParams(hash);
    const named = Object.fromEntries(parts);
    take(views, (view) => 2 ** dimensions.length * weight(view, named) + weight(view, first)); // what is named first
    state.sort = head(parts.get("sort")) ? parts.get("sort") : "ndcg";
    state.order = ["ascending", "descending"].includes(parts.get("order")) ? parts.get("order") : "";
  }

  // --- CSV of the rows that are shown: raw numbers, nothing where there is none ---

  function csv() {
    const shown = heads.filter((th) => th.offsetParent !== null);
    const cell = (text) => (/[",\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text);
    const lines = [[...dimensions, ...shown.map((th) => th.dataset.key), "ndcg_interval"]];
    for (const row of [...body.rows].filter((r) => !r.hidden)) {
      const values = shown.map((th) => {
        return row.querySelector(`[data-key="${th.dataset.key}"]`).dataset.sort ?? "";
      });
      const interval = row.querySelector("[data-key='ndcg'] small");
      lines.push([...dimensions.map((d) => row.dataset[d]), ...values, interval ? interval.textContent : ""]);
    }
    return lines.map((line) => line.map(cell).join(",")).join("\n") + "\n";
  }

  function download() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
    link.download = `leaderboard-${dimensions.map((d) => state[d]).join("-")}.csv`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  async function copy() {
    history.replaceState(null, "", address());
    const said = document.getElementById("copied");
    try {
      await navigator.clipboard.writeText(location.href);
      said.textContent = "copied";
    } catch {
      said.textContent = "the link is in the address bar";
    }
    setTimeout(() => (said.textContent = ""), 2500);
  }

  // --- folded parts open when a link leads into them ---

  function unfold() {
    const id = location.hash.slice(1);
    const target = id && document.getElementById(id);
    const folded = target && target.closest("details");
    if (folded) {
      folded.open = true;
      target.scrollIntoView();
    }
  }

  addEventListener("hashchange", () => {
    if (table) {
      read();
      show();
    }
    unfold();
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#']");
    if (link && link.hash === location.hash) unfold(); // no hashchange comes
  });
  if (table) {
    for (const set of chips) {
      set.addEventListener("click", (event) => {
        const button = event.target.closest("button");
        if (!button) return;
        take(able(set.dataset.chip, button.dataset.value), (view) => weight(view, state));
        show();
        history.pushState(null, "", address());
      });
    }
    for (const th of heads) {
      th.querySelector("button").addEventListener("click", () => {
        const again = state.sort === th.dataset.key;
        const other = direction() === "ascending" ? "descending" : "ascending";
        Object.assign(state, { sort: th.dataset.key, order: again ? other : "" });
        sort();
        history.replaceState(null, "", address());
      });
    }
    document.getElementById("csv").addEventListener("click", download);
    document.getElementById("link").addEventListener("click", copy);
    read();
    show();
  }
  unfold();
})();
