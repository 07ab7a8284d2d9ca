// Elements made by code: no markup from strings, so that a name in a file can never become markup.

const SVG = "http://www.w3.org/2000/svg";
const ICONS = {
  undo: "M7 4 3 8l4 4M3 8h8a5 5 0 0 1 0 10H7", redo: "M13 4l4 4-4 4M17 8H9a5 5 0 0 0 0 10h4",
  close: "M5 5l10 10M15 5 5 15", plus: "M10 4v12M4 10h12", minus: "M4 10h12", pin: "M7 3h6l-1 6 3 3H5l3-3zM10 12v6",
  copy: "M7 7h9v9H7zM13 7V4H4v9h3", trash: "M4 6h12M8 6V4h4v2M6 6l1 11h6l1-11",
    photo: "M3 4h14v12H3zM3 13l4-4 4 4 2-2 4 4",
  mesh: "M10 2l7 4v8l-7 4-7-4V6zM3 6l7 4 7-4M10 10v8", twice: "M4 4h8v8H4zM8 12v4h8V8h-4",
    down: "M10 3v10M6 9l4 4 4-4M4 17h12",
};

function put(node, given, children) {
  for (const [key, value] of Object.entries(given)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "on") for (const [event, f] of Object.entries(value)) node.addEventListener(event, f);
    else if (key === "testid") node.setAttribute("data-testid", value);
    else if (key === "value") node.value = value;
    else node.setAttribute(key, value === true ? "" : String(value));
  }
  node.append(...children.filter((c) => c !== null && c !== undefined));
  return node;
}

/** An element: h("button", {class, testid, on: {click}}, "text", child, ...). */
export function h(tag, given = {}, ...children) {
  return put(document.createElement(tag), given, children);
}

/** The same for SVG. */
export function s(tag, given = {}, ...children) {
  return put(document.createElementNS(SVG, tag), given, children);
}

/** Change attributes of an element, only where they differ. */
export function attrs(node, given) {
  for (const [key, value] of Object.entries(given)) {
    if (value === null || value === false) node.removeAttribute(key);
    else if (node.getAttribute(key) !== String(value)) node.setAttribute(key, String(value));
  }
  return node;
}

/** Change the text of an element, only where it differs. */
export function text(node, value) {
  if (node.textContent !== value) node.textContent = value;
  return node;
}

/** A small drawing of 20 x 20. */
export function icon(name) {
  return s("svg", {class: "icon", viewBox: "0 0 20 20", "aria-hidden": "true"}, s("path", {d: ICONS[name]}));
}

/** A button with an icon, named for those who do not see it. */
export function iconButton(name, label, click, more = {}) {
  return h("button", {type: "button", class: "icon-button", "aria-label": label, title: label, on: {click}, ...more},
    icon(name));
}

/** A button with words. */
export function button(label, click, more = {}) {
  return h("button", {type: "button", on: {click}, ...more}, label);
}

/** Calls back while an element is dragged: start(event) -> false refuses; move(event); end(event, cancelled). */
export function draggable(node, {start, move, end}) {
  let pointer = null;
  const finish = (event, cancelled) => {
    if (event.pointerId !== pointer) return;
    pointer = null;
    end?.(event, cancelled);
  };
  node.addEventListener("pointerdown", (event) => {
    if (pointer !== null || (event.pointerType === "mouse" && event.button !== 0)) return;
    if (start?.(event) === false) return;
    pointer = event.pointerId;
    node.setPointerCapture(pointer);
    event.preventDefault();
    event.stopPropagation();
  });
  node.addEventListener("pointermove", (event) => { if (event.pointerId === pointer) move(event); });
  node.addEventListener("pointerup", (event) => finish(event, false));
  node.addEventListener("pointercancel", (event) => finish(event, true));
}

/** Children of a list made anew only when `key` differs from that of the last time. */
export function rebuilt(node, key, make) {
  if (node.dataset.key === key) return false;
  node.dataset.key = key;
  node.replaceChildren(...make());
  return true;
}
