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
  const scatters = [...document.querySelectorAll("figure.scatter")];
  const pressed = (set) => set.querySelector("[aria-pressed='true']");
  const first = Object.fromEntries(chips.map((set) => [set.dataset.chip, pressed(set).dataset.value]));
  const state = { ...first, sort: "ndcg", order: "" };

  // One element per view: what can be chosen.
  const views = [...new Map(rows.map((row) => [dimensions.map((d) => row.dataset[d]).join("\n"), row])).values()];
  const agreeing = (element, wanted) => dimensions.filter((d) => element.dataset[d] === wanted[d]).length;
  const is = (element) => agreeing(element, state) === dimensions.length;

  // The view that has what was chosen and else differs least from the present one; earlier views win.
  function nearest(chosen, value) {
    const wanted = { ...state, [chosen]: value };
    const able = views.filter((view) => view.dataset[chosen] === value);
    return able.reduce((best, view) => (!best || agreeing(view, wanted) > agreeing(best, wanted) ? view : best), null);
  }

  function choose(chosen, value) {
    const view = nearest(chosen, value);
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
    let drawn = false;
    for (const figure of scatters) {
      figure.hidden = !is(figure);
      drawn = drawn || !figure.hidden;
    }
    document.getElementById("no-scatter").hidden = drawn;
    for (const set of chips) {
      for (const button of set.querySelectorAll("button")) {
        const { value } = button.dataset;
        button.setAttribute("aria-pressed", String(value === state[set.dataset.chip]));
        const there = { ...state, [set.dataset.chip]: value };
        button.classList.toggle("away", !views.some((view) => agreeing(view, there) === dimensions.length));
      }
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
    const score = (view) => 10 * agreeing(view, named) + agreeing(view, first); // what is named before what is not
    const view = views.reduce((best, v) => (!best || score(v) > score(best) ? v : best), null);
    for (const d of dimensions) state[d] = view.dataset[d];
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

  // --- folded parts open when a link leads into them, and for print ---

  function unfold() {
    const id = location.hash.slice(1);
    const target = id && document.getElementById(id);
    const folded = target && target.closest("details");
    if (folded) {
      folded.open = true;
      target.scrollIntoView();
    }
  }

  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const folded of opened) folded.open = true;
  });
  addEventListener("afterprint", () => {
    for (const folded of opened) folded.open = false;
  });
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
        choose(set.dataset.chip, button.dataset.value);
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
