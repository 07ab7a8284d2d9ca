// What the page shows: the server's state, changes on their way to it, and what belongs to this page alone.

import {wrap} from "./geometry.js";

/** The state as it will be after an edit, as far as the page can tell: the server has the last word. */
export function predicted(state, edit) {
  const {op, ...values} = edit;
  const objects = (change) => ({...state, objects: state.objects.map(
    (o) => (o.id === edit.object ? {...o, ...change(o)} : o))});
  if (op === "place") return objects((o) => {
    const [dx, dy] = [edit.at[0] - o.at[0], edit.at[1] - o.at[1]];
    return {at: edit.at, box: o.box && [o.box[0] + dx, o.box[1] + dy, o.box[2] + dx, o.box[3] + dy]};
  });
  if (op === "turn") return objects(() => ({yaw_deg: edit.yaw_deg}));
  if (op === "size") return objects((o) => ({height_m: edit.height_m, box: grown(o, edit.height_m / o.height_m)}));
  if (op === "material") return objects((o) => ({material: {...o.material,
    [edit.part]: {...o.material?.[edit.part], ...edit.values}}}));
  if (op === "select") return {...state, selected: edit.object};
  if (op === "camera" && state.camera) return {...state, camera: {...state.camera, ...values}};
  if (op === "prompt") return {...state, prompt: edit.text};
  if (!state.light) return state;
  if (op === "light") {
    const by = (values.rotate_deg ?? state.light.rotate_deg) - state.light.rotate_deg;
    return {...state, light: {...state.light, ...values,
      lamps: state.light.lamps.map((lamp) => ({...lamp, azimuth_deg: wrap(lamp.azimuth_deg + by)}))}};
  }
  if (op === "lamp") return {...state, light: {...state.light, lamps: state.light.lamps.map(
    (lamp) => (lamp.name === edit.name ? {...lamp, ...values} : lamp))}};
  return state;
}

function grown(object, factor) {
  if (!object.box) return object.box;
  const [x, y] = object.at, [x0, y0, x1, y1] = object.box;
  return [x + (x0 - x) * factor, y + (y0 - y) * factor, x + (x1 - x) * factor, y + (y1 - y) * factor];
}

export class Store {
  constructor() {
    this.state = null;
    this.draft = null;
    this.settled = null;
    this.ui = {tab: "open", lamp: null, before: false, wipe: 0, layer: "picture",
      grid: true, lines: null, right: false, match: null, part: "*", connected: false, sharp: true};
    this.listeners = [];
    this.over = new Map();
    this.asked = false;
    this.anew = false;
  }

  /** Hears of every change, at most once a screen refresh: f(shown, ui, settled).
   * settled: the newest state with no change on its way, for what is fetched anew when it changes. */
  listen(f) {
    this.listeners.push(f);
  }

  /** The server's state with the change that is on its way. */
  get shown() {
    return this.state && this.draft ? predicted(this.state, this.draft.edit) : this.state;
  }

  /** A new state from the server. */
  receive(state) {
    if (this.state && state.rev < this.state.rev && !this.anew) return;
    if (this.anew) this.over.clear();
    this.anew = false;
    const ended = this.over.get(state.job?.id);
    // A state that was written before a job ended may come after the job's last words.
    this.state = ended ? {...state, job: ended} : state;
    if (this.draft?.sent) this.draft = null;
    if (!this.draft) this.settled = this.state;
    this.changed();
  }

  /** What the server says of a job between states. */
  receiveJob(job) {
    if (!this.state) return;
    if (job && ["done", "failed", "cancelled"].includes(job.state)) this.over.set(job.id, job);
    this.state = {...this.state, job};
    this.changed();
  }

  /** The next state counts whatever its number: the server may be another one. */
  expectAny() {
    this.anew = true;
  }

  /** Shown until the server answers; `sent`: the last of its kind, the next state takes its place. */
  expect(edit, sent) {
    this.draft = {edit, sent};
    this.changed();
  }

  /** No longer shown: it was refused or given up. */
  forget() {
    this.draft = null;
    this.settled = this.state;
    this.changed();
  }

  /** Change what belongs to the page alone. */
  set(values) {
    Object.assign(this.ui, values);
    this.changed();
  }

  changed() {
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame(() => {
      this.asked = false;
      for (const f of this.listeners) f(this.shown, this.ui, this.settled);
    });
  }

  /** The object that edits are for. */
  get object() {
    const state = this.shown;
    return state?.objects.find((o) => o.id === state.selected) ?? null;
  }

  /** The lamp that edits are for: the chosen one, else the first. */
  get lamp() {
    const lamps = this.shown?.light?.lamps ?? [];
    return lamps.find((lamp) => lamp.name === this.ui.lamp) ?? lamps[0] ?? null;
  }
}

/** "azimuth 120, elevation 40" for people. */
export function placeOf(lamp) {
  return `azimuth ${Math.round(wrap(lamp.azimuth_deg))}°, elevation ${Math.round(lamp.elevation_deg)}°`;
}
