// The methods of jQuery that bertviz's views call, on one element or none; see ../vendored/README.md.
const $ = (what) => {
  const element = what.startsWith("<") ? document.createElement(what.replace(/[^a-z]/g, "")) : document.querySelector(what);
  const chain = (run) => (...given) => (run(...given), $element);
  const $element = {
    element,
    append: chain((child) => element.append(child.element)),
    attr: chain((name, value) => element.setAttribute(name, value)),
    change: chain(() => {}),
    empty: chain(() => element.replaceChildren()),
    on: chain((event, run) => element?.addEventListener(event, run)),
    text: chain((value) => (element.textContent = value)),
    val: chain((value) => (element.value = value)),
  };
  return $element;
};
