(function () {
  "use strict";
  var details = Array.prototype.slice.call(document.querySelectorAll("details"));
  var boxes = Array.prototype.slice.call(document.querySelectorAll(".scroll"));
  var opened = [];

  // Only a box that really scrolls is a stop for the keyboard.
  function stops() {
    boxes.forEach(function (box) {
      if (box.scrollWidth > box.clientWidth) box.setAttribute("tabindex", "0");
      else box.removeAttribute("tabindex");
    });
  }

  stops();
  window.addEventListener("resize", stops);
  document.addEventListener("toggle", stops, true);
  window.addEventListener("beforeprint", function () {
    opened = details.filter(function (one) { return !one.open; });
    opened.forEach(function (one) { one.open = true; });
  });
  window.addEventListener("afterprint", function () {
    opened.forEach(function (one) { one.open = false; });
  });

  var list = document.querySelector('[data-list="cases"]');
  var tools = document.getElementById("case-tools");
  if (!list || !tools) return;
  var SIZE = 25;
  var items = Array.prototype.slice.call(list.children);
  var texts = items.map(function (item) { return item.textContent.toLowerCase(); });
  var parts = document.importNode(tools.content, true);
  var form = parts.querySelector("form");
  var state = parts.querySelector(".tools-state");
  var pager = parts.querySelector(".pager");
  var pageState = parts.querySelector(".pager-state");
  var copy = parts.querySelector(".copy");
  var page = 0;
  var matching = items.slice();

  function fill(format, values) {
    return format.replace(/\{(\w+)\}/g, function (_, name) { return String(values[name]); });
  }

  function show() {
    var pages = Math.max(1, Math.ceil(matching.length / SIZE));
    page = Math.min(Math.max(page, 0), pages - 1);
    var shown = new Set(matching.slice(page * SIZE, page * SIZE + SIZE));
    items.forEach(function (item) { item.hidden = !shown.has(item); });
    state.textContent = matching.length
      ? fill(state.dataset.format, {
          first: page * SIZE + 1, last: page * SIZE + shown.size, n: matching.length, of: items.length })
      : state.dataset.none;
    pageState.textContent = fill(pageState.dataset.format, { page: page + 1, pages: pages });
    pager.hidden = pages < 2;
    pager.querySelector('[data-step="-1"]').disabled = page === 0;
    pager.querySelector('[data-step="1"]').disabled = page === pages - 1;
  }

  function filter() {
    var wanted = Array.prototype.slice.call(form.querySelectorAll("select")).filter(function (s) { return s.value; });
    var query = form.elements.q.value.trim().toLowerCase();
    matching = items.filter(function (item, i) {
      return wanted.every(function (s) { return item.getAttribute("data-" + s.name) === s.value; })
        && (!query || texts[i].indexOf(query) >= 0);
    });
    page = 0;
    show();
  }

  function follow() {
    var item = items.find(function (one) { return "#" + one.id === window.location.hash; });
    if (!item) return;
    if (matching.indexOf(item) < 0) { form.reset(); filter(); }
    page = Math.floor(matching.indexOf(item) / SIZE);
    show();
    item.scrollIntoView();
  }

  function record(item) {
    var out = { id: item.id };
    Array.prototype.forEach.call(item.attributes, function (one) {
      if (one.name.indexOf("data-") === 0) out[one.name.slice(5)] = one.value;
    });
    var text = item.querySelector(".tokens");
    out.text = text ? text.textContent : "";
    out.words = Array.prototype.map.call(item.querySelectorAll(".tokens span[title]"), function (one) {
      return [one.textContent, Number(one.title)];
    });
    return JSON.stringify(out, null, 1);
  }

  function put(text) {
    if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
    var area = document.createElement("textarea");
    area.value = text;
    document.body.appendChild(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    return Promise.resolve();
  }

  items.forEach(function (item) {
    var button = copy.cloneNode(true);
    button.addEventListener("click", function () {
      put(record(item)).then(function () {
        var before = button.textContent;
        button.textContent = button.dataset.done;
        setTimeout(function () { button.textContent = before; }, 1500);
      });
    });
    item.querySelector(".item-title").appendChild(button);
  });
  copy.remove();
  form.addEventListener("input", filter);
  form.addEventListener("submit", function (event) { event.preventDefault(); });
  pager.addEventListener("click", function (event) {
    var step = event.target.getAttribute("data-step");
    if (!step) return;
    page += Number(step);
    show();
    list.parentNode.querySelector(".tools").scrollIntoView();
  });
  list.parentNode.insertBefore(form, list);
  list.parentNode.insertBefore(state, list);
  list.parentNode.insertBefore(pager, list.nextSibling);
  window.addEventListener("hashchange", follow);
  window.addEventListener("beforeprint", function () { items.forEach(function (item) { item.hidden = false; }); });
  window.addEventListener("afterprint", show);
  show();
  follow();
})();
