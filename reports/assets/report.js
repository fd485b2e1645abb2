(function () {
  "use strict";
  const PRINTED = 500;
  const all = (root, selector) => Array.from(root.querySelectorAll(selector));
  const fill = (format, values) => format.replace(/\{(\w+)\}/g, (_, name) => String(values[name]));

  function make(tag, kind, ...children) {
    const made = document.createElement(tag);
    if (kind) made.className = kind;
    made.append(...children);
    return made;
  }

  // --- the page around the cases

  // Only a box that really scrolls is a stop for the keyboard.
  function stops() {
    all(document, ".scroll").forEach((box) => {
      if (box.scrollWidth > box.clientWidth) box.setAttribute("tabindex", "0");
      else box.removeAttribute("tabindex");
    });
  }

  function followReading() {
    const links = new Map(all(document, ".contents a").map((a) => [a.hash.slice(1), a]));
    const seen = new Set();
    const watch = new IntersectionObserver((entries) => {
      entries.forEach((e) => (e.isIntersecting ? seen.add(e.target.id) : seen.delete(e.target.id)));
      const current = Array.from(links.keys()).find((name) => seen.has(name));
      if (!current) return;
      links.forEach((a, name) => {
        if (name === current) a.setAttribute("aria-current", "location");
        else a.removeAttribute("aria-current");
      });
    }, { rootMargin: "-12% 0px -60% 0px" });
    all(document, "main > section").forEach((section) => watch.observe(section));
  }

  function foldedInPrint() {
    let opened = [];
    window.addEventListener("beforeprint", () => {
      opened = all(document, "details:not(.scores)").filter((one) => !one.open);
      opened.forEach((one) => { one.open = true; });
    });
    window.addEventListener("afterprint", () => opened.forEach((one) => { one.open = false; }));
  }

  stops();
  window.addEventListener("resize", stops);
  document.addEventListener("toggle", stops, true);
  foldedInPrint();
  followReading();

  // --- the cases

  const source = document.getElementById("case-data");
  const list = document.querySelector('[data-list="cases"]');
  const template = document.getElementById("case-tools");
  if (!source || !list || !template) return;

  const data = JSON.parse(source.textContent);
  const column = Object.fromEntries(data.columns.map((name, i) => [name, i]));
  const parts = document.importNode(template.content, true);
  const form = parts.querySelector("form");
  const state = parts.querySelector(".tools-state");
  const pager = parts.querySelector(".pager");
  const pageState = parts.querySelector(".pager-state");
  const copyButton = parts.querySelector(".copy");
  const scoresFold = parts.querySelector(".scores");
  const facet = (i, name) => data.cases[i][1][column[name]];
  const body = (i) => data.cases[i][3].find((child) => child[0] === "tokens");
  let searched = null;
  let order = data.cases.map((_, i) => i);
  let page = 0;

  function inline(entry) {
    if (typeof entry === "string") return entry;
    if (entry[0] !== "badge") return make(entry[0], "", entry[1]);
    const sign = make("span", "", entry[2]);
    sign.setAttribute("aria-hidden", "true");
    return make("span", "badge " + entry[1], sign, " " + entry[3]);
  }

  // Every scored piece of a text: [what stands before it, the piece, its score as written, its heat].
  function pieces(child) {
    const [, text, places, scores, heat] = child;
    const written = scores.split(" ");
    let at = 0;
    return Array.from(heat, (step, n) => {
      const before = text.slice(at, at + places[2 * n]);
      at += places[2 * n];
      const piece = text.slice(at, at + places[2 * n + 1]);
      at += places[2 * n + 1];
      return [before, piece, written[n], step === "-" ? null : step.charCodeAt(0) - 107, at];
    });
  }

  function tokens(child) {
    const out = make("p", "tokens");
    out.setAttribute("dir", "auto");
    let end = 0;
    pieces(child).forEach(([before, piece, score, heat, at]) => {
      out.append(before);
      end = at;
      if (heat === null) {
        if (piece) out.append(make("span", "sp", piece));
        return;
      }
      const made = make("span", heat === 0 ? "z" : (heat > 0 ? "p" : "n") + Math.abs(heat), piece);
      made.title = score;
      out.append(made);
    });
    out.append(child[1].slice(end));
    out.normalize();
    return out;
  }

  function scoreTable(i) {
    const format = scoresFold.dataset;
    const head = make("tr", "");
    [format.word, format.score].forEach((name, n) => {
      const cell = make("th", n ? "n" : "", name);
      cell.scope = "col";
      head.append(cell);
    });
    const scored = pieces(body(i)).filter((piece) => piece[3] !== null);
    scored.sort((a, b) => Math.abs(b[2]) - Math.abs(a[2]));
    const rows = scored.map(([, piece, score]) => {
      const name = make("th", "", make("bdi", "", piece));
      name.scope = "row";
      return make("tr", "", name, make("td", "n", score.replace("-", "\u2212")));
    });
    return make("table", "", make("thead", "", head), make("tbody", "", ...rows));
  }

  // The same elements as in the first page, which stands in the file; then what only a script can offer.
  function article(i) {
    const [key, , title, children] = data.cases[i];
    const link = make("a", "permalink", inline(data.pool[title[0]]));
    link.href = "#" + key;
    const rest = title.slice(1).map((n) => make("span", "", inline(data.pool[n])));
    const made = make("article", "", make("h3", "item-title", link, ...rest));
    made.id = key;
    children.forEach((child) => {
      if (child[0] === "tokens") made.append(tokens(child));
      else made.append(make("p", child[0] === "body" ? "" : child[0], ...child.slice(1).map((n) => inline(data.pool[n]))));
    });
    return made;
  }

  function equipped(i) {
    const made = article(i);
    const copy = copyButton.cloneNode(true);
    copy.addEventListener("click", () => put(record(i)).then(() => {
      const before = copy.textContent;
      copy.textContent = copy.dataset.done;
      setTimeout(() => { copy.textContent = before; }, 1500);
    }));
    copy.setAttribute("aria-describedby", made.id + "-h");
    made.firstChild.id = made.id + "-h";
    made.firstChild.append(copy);
    if (body(i) && body(i)[4].length) {
      const fold = scoresFold.cloneNode(true);
      fold.addEventListener("toggle", () => {
        if (fold.children.length < 2) fold.append(scoreTable(i));
      });
      made.append(fold);
    }
    return made;
  }

  function record(i) {
    const out = Object.fromEntries(data.columns.map((name) => [name, facet(i, name)]));
    const child = body(i);
    if (child) {
      out.text = child.length > 5 ? child[5] : child[1];
      out.words = pieces(child).filter((piece) => piece[3] !== null).map(([, piece, score]) => [piece, Number(score)]);
    }
    return JSON.stringify(out, null, 1);
  }

  function put(text) {
    if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    return Promise.resolve();
  }

  function say(first, last) {
    state.textContent = order.length
      ? fill(state.dataset.format, { first: first, last: last, n: order.length, of: data.cases.length })
      : state.dataset.none;
  }

  function able(button, yes) {
    // Not `disabled`: a button that is pressed must not lose the focus.
    button.setAttribute("aria-disabled", String(!yes));
  }

  function show() {
    const pages = Math.max(1, Math.ceil(order.length / data.page));
    page = Math.min(Math.max(page, 0), pages - 1);
    const from = page * data.page;
    const shown = order.slice(from, from + data.page);
    list.replaceChildren(...shown.map(equipped));
    say(from + 1, from + shown.length);
    pageState.textContent = fill(pageState.dataset.format, { page: page + 1, pages: pages });
    pager.hidden = pages < 2;
    able(pager.querySelector('[data-step="-1"]'), page > 0);
    able(pager.querySelector('[data-step="1"]'), page < pages - 1);
  }

  function sorted(found, by) {
    const [name, direction] = by.split("-");
    if (!(name in column)) return found;
    const sign = direction === "down" ? -1 : 1;
    return found.sort((a, b) => {
      const x = facet(a, name);
      const y = facet(b, name);
      if (x === null || y === null) return (x === null) - (y === null);
      return x === y ? a - b : sign * (x < y ? -1 : 1);
    });
  }

  function narrow() {
    const wanted = all(form, "select[data-facet]").filter((one) => one.value);
    const query = form.elements.q ? form.elements.q.value.trim().toLowerCase() : "";
    if (query && !searched) searched = data.cases.map((_, i) => (body(i) ? body(i)[1].toLowerCase() : ""));
    const found = [];
    data.cases.forEach((_, i) => {
      const fits = wanted.every((one) => String(facet(i, one.dataset.facet)) === one.value);
      if (fits && (!query || searched[i].includes(query))) found.push(i);
    });
    order = sorted(found, form.elements.sort.value);
    page = 0;
    show();
  }

  function clear() {
    form.reset();
    narrow();
  }

  function open() {
    const name = window.location.hash.slice(1);
    const i = data.cases.findIndex((one) => one[0] === name);
    if (i < 0) return;
    if (!order.includes(i)) clear();
    page = Math.floor(order.indexOf(i) / data.page);
    show();
    const found = document.getElementById(name);
    found.classList.add("current");
    found.tabIndex = -1;
    found.scrollIntoView();
    found.focus({ preventScroll: true });
  }

  form.addEventListener("input", narrow);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.elements.clear.addEventListener("click", clear);
  pager.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button || button.getAttribute("aria-disabled") === "true") return;
    page += Number(button.dataset.step);
    show();
    form.scrollIntoView();
  });
  // Stands there until a script lists them all: also where a browser runs scripts but not this one.
  all(document, ".no-script").forEach((note) => note.remove());
  list.before(form, state);
  list.after(pager);
  window.addEventListener("hashchange", open);
  window.addEventListener("beforeprint", () => {
    list.replaceChildren(...order.slice(0, PRINTED).map(article));
    if (order.length) say(1, Math.min(order.length, PRINTED));
  });
  window.addEventListener("afterprint", show);
  show();
  open();
})();
