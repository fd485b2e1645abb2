// Section 10: the pattern of a chosen head on a chosen case, in the place of the one that is drawn already.
(function () {
  "use strict";
  var template = document.getElementById("attention-tools");
  var figures = document.querySelectorAll("#attention figure");
  if (!template || !figures.length || typeof DecompressionStream === "undefined") return;
  var still = figures[figures.length - 1];
  var cases = JSON.parse(template.dataset.patterns);
  var parts = document.importNode(template.content, true);
  var form = parts.querySelector("form");
  var figure = parts.querySelector("figure");
  var box = figure.querySelector(".scroll");
  var body = figure.querySelector("tbody");
  var SHADES = 16;

  function unpack(one) {
    if (!one.weights) {
      var packed = Uint8Array.from(atob(one.z), function (c) { return c.charCodeAt(0); });
      var stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
      one.weights = new Response(stream).arrayBuffer().then(function (b) { return new Uint8Array(b); });
    }
    return one.weights;
  }

  function element(name, attributes, text) {
    var made = document.createElementNS("http://www.w3.org/2000/svg", name);
    Object.keys(attributes).forEach(function (key) { made.setAttribute(key, attributes[key]); });
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function short(token) {
    var characters = Array.from(token.trim() || "\u2423");
    return characters.length > 14 ? characters.slice(0, 13).join("") + "\u2026" : characters.join("");
  }

  function draw(tokens, weights, title) {
    var n = tokens.length;
    var cell = Math.max(12, Math.min(26, Math.floor(440 / n))), left = 122, top = 118;
    var size = cell * n, width = left + size + 60, height = top + size + 8;
    var svg = element("svg", { viewBox: "0 0 " + width + " " + height, width: width, height: height,
      role: "img", "aria-label": title, fill: "currentColor", "font-size": 11 });
    // One path a shade: of a hundred tokens each cell by itself would be ten thousand elements.
    var shades = {};
    weights.forEach(function (w, i) {
      var shade = Math.ceil((w * SHADES) / 255);
      if (shade) shades[shade] = (shades[shade] || "") + "M" + (left + (i % n) * cell) + " "
        + (top + Math.floor(i / n) * cell) + "h" + cell + "v" + cell + "h-" + cell + "z";
    });
    Object.keys(shades).forEach(function (shade) {
      svg.appendChild(element("path", { d: shades[shade], fill: "#2f7fc1", "fill-opacity": (0.9 * shade) / SHADES }));
    });
    svg.appendChild(element("rect", { x: left, y: top, width: size, height: size, fill: "none",
      stroke: "currentColor", "stroke-opacity": 0.3 }));
    tokens.forEach(function (token, i) {
      var x = left + (i + 0.5) * cell + 4, y = top + (i + 0.5) * cell + 4;
      svg.appendChild(element("text", { x: left - 6, y: y, "text-anchor": "end" }, short(token)));
      svg.appendChild(element("text", { x: x, y: top - 7, transform: "rotate(-90 " + x + " " + (top - 7) + ")" },
        short(token)));
    });
    svg.appendChild(element("text", { x: left, y: 12 }, template.dataset.key + " \u2192"));
    svg.appendChild(element("text", { x: 12, y: top + size, transform: "rotate(-90 12 " + (top + size) + ")" },
      "\u2190 " + template.dataset.query));
    box.replaceChildren(svg);
  }

  function list(tokens, weights) {
    var n = tokens.length;
    var order = Array.from(weights.keys()).sort(function (a, b) { return weights[b] - weights[a] || a - b; });
    body.replaceChildren.apply(body, order.slice(0, Number(template.dataset.pairs)).map(function (at) {
      var row = document.createElement("tr");
      [tokens[Math.floor(at / n)], tokens[at % n], ((100 * weights[at]) / 255).toFixed(1) + "%"]
        .forEach(function (text, column) {
          var cell = row.insertCell();
          cell.textContent = text;
          if (column === 2) cell.className = "n";
        });
      return row;
    }));
  }

  function show() {
    var one = cases[Number(form.elements.case.value)], head = Number(form.elements.head.value);
    var title = [form.elements.head, form.elements.case].map(function (s) { return s.selectedOptions[0].text; });
    return unpack(one).then(function (all) {
      var size = one.tokens.length * one.tokens.length;
      var weights = all.subarray(head * size, (head + 1) * size);
      draw(one.tokens, weights, title.join(", "));
      list(one.tokens, weights);
    });
  }

  form.addEventListener("input", show);
  form.addEventListener("submit", function (event) { event.preventDefault(); });
  show().then(function () {
    still.before(form, figure);
    still.remove();
  });
})();
