// Objects on the stage: the outline with its handles, and clicks and drags that move the contact point.

import {attrs, draggable, s, text} from "./dom.js";
import {round, wrap} from "./geometry.js";

const inside = ([x, y], [x0, y0, x1, y1]) => x >= x0 && x <= x1 && y >= y0 && y <= y1;

export class Placing {
  constructor(stage, store, actions, layer) {
    Object.assign(this, {stage, store, actions});
    this.box = s("rect", {class: "outline"});
    this.foot = s("path", {class: "foot", d: "M-8 0H8M0-8V8"});
    this.stem = s("line", {class: "stem"});
    this.tall = s("circle", {class: "handle", r: 8, tabindex: 0, role: "slider", "aria-label": "Height of the object"});
    this.turn = s("g", {class: "handle", tabindex: 0, role: "slider", "aria-label": "Turn the object"},
      s("circle", {r: 9}), s("path", {class: "mark", d: "M3.6-2.6A4.5 4.5 0 1 0 4.4 1.4M4.6-5.4V-2.2H1.4"}));
    this.label = s("text", {class: "label"});
    this.others = s("g");
    this.group = s("g", {}, this.others, this.box, this.stem, this.foot, this.turn, this.tall, this.label);
    layer.append(this.group);
    this.says = "";
    this.handles();
  }

  handles() {
    let from;
    const object = () => this.store.object;
    draggable(this.tall, {
      start: () => { from = object(); return Boolean(from?.box); },
      move: (e) => {
        const foot = from.box[3], y = this.stage.pixel(e)[1];
        const height = from.height_m * Math.max(0.02, (foot - y) / Math.max(1, foot - from.box[1]));
        this.last = {op: "size", object: from.id, height_m: round(height, 3)};
        this.says = `${round(height, 2)} m`;
        this.actions.drag(this.last);
      },
      end: () => this.finish(),
    });
    draggable(this.turn, {
      start: (e) => { from = {...object(), x: e.clientX}; return Boolean(from.id); },
      move: (e) => this.turned(from.id, from.yaw_deg + (e.clientX - from.x) * 0.7, true),
      end: () => this.finish(),
    });
    this.turn.addEventListener("keydown", (e) => {
      const step = {ArrowLeft: -5, ArrowRight: 5}[e.key];
      if (!step || !object()) return;
      e.preventDefault();
      e.stopPropagation();
      this.actions.soon({op: "turn", object: object().id, yaw_deg: wrap(object().yaw_deg + step)});
    });
    this.tall.addEventListener("keydown", (e) => {
      const step = {ArrowUp: 1.02, ArrowDown: 1 / 1.02}[e.key];
      if (!step || !object()) return;
      e.preventDefault();
      e.stopPropagation();
      this.actions.soon({op: "size", object: object().id, height_m: round(object().height_m * step, 4)});
    });
  }

  turned(id, degrees, dragging) {
    const yaw = round(wrap(degrees), 1);
    this.last = {op: "turn", object: id, yaw_deg: yaw};
    this.says = `${Math.round(yaw)}°`;
    if (dragging) this.actions.drag(this.last); else this.actions.soon(this.last);
  }

  finish() {
    if (this.last) this.actions.commit(this.last);
    this.last = null;
    this.says = "";
  }

  /** The stage's tool on this tab: a click sets the contact point, a drag takes the object along. */
  tool(pixel) {
    const state = this.store.shown;
    if (!state?.objects.length) return null;
    const selected = this.store.object;
    const own = selected?.box && inside(pixel, selected.box);
    const hit = own ? selected : [...state.objects].reverse().find((o) => o.box && inside(pixel, o.box));
    const object = hit ?? selected ?? state.objects[0];
    if (object.id !== state.selected) this.actions.commit({op: "select", object: object.id});
    const [dx, dy] = hit ? [object.at[0] - pixel[0], object.at[1] - pixel[1]] : [0, 0];
    const edit = ([x, y]) => ({op: "place", object: object.id, at: this.within([x + dx, y + dy])});
    return {
      move: (_, at) => this.actions.drag(edit(at)),
      up: (_, at, far) => { if (far || !hit) this.actions.commit(edit(at)); },
      cancel: () => this.store.forget(),
    };
  }

  within([x, y]) {
    const [w, h] = this.stage.size;
    return [round(Math.min(w - 1, Math.max(0, x)), 1), round(Math.min(h - 1, Math.max(0, y)), 1)];
  }

  /** The wheel over the selected object turns it. */
  wheel(event) {
    const object = this.store.object;
    if (!object?.box || !inside(this.stage.pixel(event), object.box)) return false;
    this.turned(object.id, object.yaw_deg + Math.sign(event.deltaY || event.deltaX) * (event.shiftKey ? 1 : 5), false);
    clearTimeout(this.quiet);
    this.quiet = setTimeout(() => { this.says = ""; this.store.changed(); }, 700);
    return true;
  }

  update(state, ui) {
    const object = this.store.object;
    const on = ui.tab === "place" && Boolean(state?.plate) && Boolean(object);
    attrs(this.group, {display: on ? "inline" : "none"});
    if (!on) return;
    const [x, y] = this.stage.out(object.at);
    attrs(this.foot, {transform: `translate(${x} ${y})`});
    const box = object.box;
    for (const node of [this.box, this.stem, this.tall, this.turn]) attrs(node, {display: box ? "inline" : "none"});
    if (!box) return;
    const [x0, y0] = this.stage.out([box[0], box[1]]), [x1, y1] = this.stage.out([box[2], box[3]]);
    const middle = (x0 + x1) / 2, [w, h] = this.stage.room;
    attrs(this.box, {x: x0, y: y0, width: Math.max(1, x1 - x0), height: Math.max(1, y1 - y0)});
    const top = Math.min(h - 14, Math.max(14, y0 - 22));
    attrs(this.stem, {x1: middle, y1: y0, x2: middle, y2: top});
    attrs(this.tall, {cx: middle, cy: top, "aria-valuetext": `${round(object.height_m, 2)} metres`,
      "aria-valuenow": round(object.height_m, 2)});
    attrs(this.turn, {transform: `translate(${Math.min(w - 14, x1 + 18)} ${Math.min(h - 14, y1)})`,
      "aria-valuetext": `${Math.round(object.yaw_deg)} degrees`, "aria-valuenow": Math.round(object.yaw_deg)});
    attrs(this.label, {x: middle + 14, y: top + 4});
    text(this.label, this.says || `${round(object.height_m, 2)} m`);
    const rest = state.objects.filter((o) => o.id !== object.id && o.box);
    while (this.others.childNodes.length > rest.length) this.others.lastChild.remove();
    while (this.others.childNodes.length < rest.length) this.others.append(s("rect", {class: "outline other"}));
    rest.forEach((o, k) => {
      const [a, b] = this.stage.out([o.box[0], o.box[1]]), [c, d] = this.stage.out([o.box[2], o.box[3]]);
      attrs(this.others.childNodes[k], {x: a, y: b, width: Math.max(1, c - a), height: Math.max(1, d - b)});
    });
  }
}
