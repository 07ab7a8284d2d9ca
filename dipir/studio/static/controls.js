// Sliders with a number beside them, choices, folds: the parts that panels are made of.

import {h, text} from "./dom.js";

const same = (v) => v;

/** A slider and a number: {node, set(value), enable(on)}.
 * scale: [to slider, from slider] where it is not linear; note(value) -> words under it; input while it moves,
   done after. */
export function slider({label, testid, min, max, step, unit = "", scale = [same, same], digits = 2, note, input, done,
  wide}) {
  const range = h("input", {type: "range", min: scale[0](min), max: scale[0](max), step: scale[0] === same ? step
    : "any",
    "aria-label": label, testid: testid && `${testid}-slider`});
  const number = h("input", {type: "number", min: wide?.[0] ?? min, max: wide?.[1] ?? max, step: "any",
    "aria-label": `${label}${unit ? `, ${unit}` : ""}`, testid, inputmode: "decimal"});
  const under = h("small", {class: "under"});
  const node = h("div", {class: "slider"}, h("span", {class: "label"}, label), range,
    h("span", {class: "number"}, number, h("span", {class: "unit", "aria-hidden": "true"}, unit)), note ? under : null);
  const show = (value) => { if (note) text(under, note(value)); };
  const exact = () => Number(scale[1](Number(range.value)).toFixed(4));
  let held = false;
  range.addEventListener("input", () => {
    held = true;
    number.value = Number(exact().toFixed(digits));
    show(exact());
    input?.(exact());
  });
  range.addEventListener("change", () => {
    held = false;
    done(exact());
  });
  numeric(number, (value) => done(value));
  return {node, range, number,
    set(value) {
      if (value === null || value === undefined || held) return;
      if (document.activeElement !== number || number.dataset.clean) number.value = Number(value.toFixed(digits));
      range.value = scale[0](value);
      show(value);
    },
    enable(on) {
      range.disabled = number.disabled = !on;
    }};
}

/** A number that counts when it is left or Enter is pressed; what is not a number is put back. */
export function numeric(field, done) {
  let before = "";
  field.addEventListener("focus", () => { before = field.value; field.dataset.clean = "1"; });
  field.addEventListener("input", () => delete field.dataset.clean);
  field.addEventListener("keydown", (e) => {
    if (e.key === "Enter") field.blur();
    if (e.key === "Escape") { field.value = before; field.blur(); e.stopPropagation(); }
  });
  field.addEventListener("change", () => {
    const low = field.min === "" ? -Infinity : Number(field.min), high = field.max === "" ? Infinity
      : Number(field.max);
    if (field.value === "" || !Number.isFinite(field.valueAsNumber)) field.value = before;
    else done(Math.min(high, Math.max(low, field.valueAsNumber)));
  });
}

/** A number with a name: {node, field, set(value)}. */
export function field({label, testid, min, max, unit = "", digits = 2, done, placeholder}) {
  const input = h("input", {type: "number", min, max, step: "any", "aria-label": `${label}${unit ? `, ${unit}` : ""}`,
    testid,
    placeholder, inputmode: "decimal"});
  numeric(input, done ?? (() => {}));
  return {node: h("label", {class: "field"}, h("span", {class: "label"}, label), h("span", {class: "number"}, input,
    h("span", {class: "unit"}, unit))), field: input,
  set(value) {
    if (value !== null && value !== undefined && (document.activeElement !== input || input.dataset.clean)) {
      input.value = Number(value.toFixed(digits));
    }
  }};
}

/** A box to tick: {node, set(on)}. */
export function tick({label, testid, change}) {
  const box = h("input", {type: "checkbox", testid, on: {change: () => change(box.checked)}});
  return {node: h("label", {class: "tick"}, box, label), box, set(on) { box.checked = on; }};
}

/** A part of a panel with a heading. */
export function group(title, ...children) {
  return h("section", {class: "group", "aria-label": title}, h("h3", {}, title), ...children);
}

/** A part that folds. */
export function fold(title, open, ...children) {
  return h("details", {class: "group", open}, h("summary", {}, title), ...children);
}

/** A button and a hidden file field: {node}; taken(files) hears what was chosen. */
export function fileButton({label, testid, accept, taken, hint, mark}) {
  const input = h("input", {type: "file", accept, multiple: true, class: "unseen", "aria-label": label,
    on: {change: () => { taken([...input.files]); input.value = ""; }}});
  return {node: h("label", {class: "drop", testid}, input, mark ?? null, h("span", {}, h("b", {}, label),
    hint ? h("small", {}, hint) : null)), input};
}

/** Log scale of a slider from 0 to 1. */
export function logScale(low, high) {
  const span = Math.log(high / low);
  return [(v) => Math.log(Math.max(v, low) / low) / span, (t) => low * Math.exp(t * span)];
}
