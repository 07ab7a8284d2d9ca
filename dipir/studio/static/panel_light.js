// Tab "Light": the compass, the guesses, the chosen lamp, the light around it, matching and fitting.

import {button, h, icon, iconButton, rebuilt, text} from "./dom.js";
import {field, fileButton, fold, group, logScale, slider} from "./controls.js";
import {round, wrap} from "./geometry.js";
import {busy, progressOf} from "./topbar.js";
import {Compass, LightMap} from "./compass.js";

export class PanelLight {
  constructor(node, store, actions, match) {
    Object.assign(this, {store, actions});
    this.compass = new Compass(store, actions);
    this.map = new LightMap(store, actions);
    this.none = h("p", {class: "under"}, "The light is guessed once there is a photo and an object.");
    this.chips = h("div", {class: "guesses", role: "group", "aria-label": "Guesses of the light"});
    this.decide = button("Back to what the photo says", () => actions.commit({op: "guess", n: 0}), {testid: "guess-0"});
    this.decided = h("p", {class: "under"});
    this.where = group("Where the light is", this.none, this.chips, this.compass.node, this.compass.words);
    this.panorama = group("Seen all around", this.map.node, this.decided, h("div", {class: "row"}, this.decide));
    this.lampControls(store, actions);
    this.aroundControls(store, actions);
    this.match = button("Match the shadow", () => match.begin(),
      {testid: "match", title: "Click foot and tip of a shadow in the photo"});
    this.hdri = fileButton({label: "Panorama of light", testid: "drop-hdri", accept: ".exr,.hdr", mark: icon("photo"),
      hint: "EXR or HDR, twice as wide as high", taken: (files) => actions.files(files, "hdri")});
    this.steps = field({label: "Steps", testid: "fit-steps", min: 1, max: 2000, digits: 0});
    this.steps.set(150);
    this.fit = button("Fit again from here", () => actions.fit(Math.round(this.steps.field.valueAsNumber || 150)),
      {testid: "fit", class: "primary"});
    this.fitting = h("p", {class: "under", role: "status"});
    this.prompt = h("input", {type: "text", "aria-label": "What the picture shows, in words",
      placeholder: "a photo of …", maxlength: 300,
      testid: "prompt", on: {change: () => actions.commit({op: "prompt", text: this.prompt.value})}});
    node.append(this.where, this.lamp, this.panorama, this.around, group("From the photo", h("p", {class: "under"},
      "Three clicks on something in the photo that throws a shadow tell where the sun is."), this.match),
    group("Fit", h("p", {class: "under"},
      "Improves the light with the prior. What is held (pin) stays; the picture follows as it goes."),
      h("label", {class: "field wide"}, h("span", {class: "label"}, "Words"), this.prompt),
        h("div", {class: "row"}, this.steps.node, this.fit), this.fitting),
    fold("A light of your own", false, this.hdri.node));
  }

  lampControls(store, actions) {
    const both = (key) => ({input: (v) => store.lamp && actions.drag({op: "lamp", name: store.lamp.name, [key]: v}),
      done: (v) => store.lamp && actions.commit({op: "lamp", name: store.lamp.name, [key]: v})});
    this.lamps = h("div", {class: "lamps", role: "group", "aria-label": "Lamps"});
    this.controls = {
      azimuth_deg: slider({label: "Azimuth", testid: "sun-azimuth", min: -180, max: 180, step: 1, unit: "°", digits: 1,
        wide: [-360, 360], ...both("azimuth_deg")}),
      elevation_deg: slider({label: "Elevation", testid: "sun-elevation", min: 0, max: 90, step: 0.5, unit: "°",
        digits: 1, wide: [-90, 90], ...both("elevation_deg")}),
      share: slider({label: "Strength", testid: "strength", min: 0, max: 0.98, step: 0.01, digits: 3,
        note: (v) => `Its shadow keeps ${Math.round(100 * (this.keeps ?? 1 - v))} % of the light.`, ...both("share")}),
      size_deg: slider({label: "Size", testid: "size", min: 0.53, max: 120, unit: "°", scale: logScale(0.53, 120),
        digits: 2,
        note: (v) => (v < 1 ? "As small as the sun: hard shadows." : v < 20 ? "Soft edges."
          : "A wide window: soft shadows."), ...both("size_deg")}),
      warmth: slider({label: "Warmth", testid: "warmth", min: -1, max: 1, step: 0.02, ...both("warmth")}),
    };
    this.lamp = group("Lamp", this.lamps, ...Object.values(this.controls).map((c) => c.node));
  }

  aroundControls(store, actions) {
    const make = (label, key, low, high, step, unit, more = {}) => slider({label, testid: key.replace(/_.*/, ""),
      min: low, max: high, step, unit,
      input: (v) => actions.drag({op: "light", [key]: v}), done: (v) => actions.commit({op: "light", [key]: v}),
        ...more});
    this.all = {
      ambient_stops: make("Ambient", "ambient_stops", -3, 3, 0.05, "EV", {wide: [-10, 10]}),
      exposure_stops: make("Exposure", "exposure_stops", -3, 3, 0.05, "EV", {wide: [-10, 10]}),
      contrast: make("Tone", "contrast", -1, 1, 0.02, "",
        {note: (v) => (Math.abs(v) < 0.005 ? "" : v > 0 ? "More contrast on the object."
        : "Less contrast on the object.")}),
      rotate_deg: make("Turn all", "rotate_deg", -180, 180, 1, "°", {digits: 1, wide: [-360, 360]}),
    };
    this.pin = h("button", {type: "button", class: "pin",
      on: {click: () => this.hold("ambient", this.store.shown?.light?.held?.includes("ambient"))}},
      icon("pin"), h("span", {}, "Hold the ambient light"));
    this.around = group("Light around", ...Object.values(this.all).map((c) => c.node), this.pin);
  }

  hold(name, held) {
    this.actions.commit({op: "hold", name, held: !held});
  }

  update(state, ui, settled) {
    const light = state?.light;
    this.compass.update(state);
    this.map.update(state, ui, settled);
    this.none.hidden = Boolean(light);
    text(this.none, state?.job?.kind === "prepare" ? "The light is being guessed."
      : "The light is guessed once there is a photo and an object.");
    for (const part of [this.lamp, this.panorama, this.around]) part.hidden = !light;
    this.match.disabled = this.fit.disabled = !light;
    this.guesses(state, settled);
    const own = light && !/^(prior|guess|ambient)/.test(light.base ?? "prior") ? `base: ${light.base}` : "";
    const told = light?.decided?.replace(/^light: /, "").replace(/; --guess.*$/, "");
    text(this.decided, [told, own].filter(Boolean).join("; "));
    const job = state?.job, fitting = busy(job) && job.kind === "fit";
    this.fit.disabled ||= busy(job);
    text(this.fitting, fitting ? `Fitting: ${progressOf(job) || "starting"}` : "");
    if (document.activeElement !== this.prompt) this.prompt.value = state?.prompt ?? "";
    if (!light) return;
    this.names(light);
    const lamp = this.store.lamp;
    // The server knows what is left in its shadow; while the slider moves the share says it.
    const same = settled?.light?.lamps.find((l) => l.name === lamp?.name)?.share === lamp?.share;
    this.keeps = same ? lamp?.left_in_shadow : undefined;
    for (const [key, c] of Object.entries(this.controls)) {
      c.enable(Boolean(lamp));
      if (lamp) c.set(key === "azimuth_deg" ? wrap(lamp[key]) : lamp[key]);
    }
    for (const [key, c] of Object.entries(this.all)) c.set(key === "rotate_deg" ? wrap(light[key] ?? 0) : light[key]
      ?? 0);
    const held = Boolean(light.held?.includes("ambient"));
    this.pin.setAttribute("aria-pressed", String(held));
  }

  names(light) {
    const chosen = this.store.lamp?.name;
    rebuilt(this.lamps, JSON.stringify([light.lamps.map((l) => [l.name, l.held]), chosen]),
      () => [...light.lamps.map((lamp) => h("span",
      {class: lamp.name === chosen ? "chip chosen" : "chip"},
      h("button", {type: "button", class: "name", "aria-pressed": String(lamp.name === chosen),
        on: {click: () => this.store.set({lamp: lamp.name})}}, lamp.name),
      h("button", {type: "button", class: "pin", "aria-pressed": String(Boolean(lamp.held)),
        "aria-label": `Hold ${lamp.name}`,
        title: "Held: a fit leaves it as it is", on: {click: () => this.hold(lamp.name, lamp.held)}}, icon("pin")),
      iconButton("close", `Remove ${lamp.name}`, () => this.actions.commit({op: "lamp_remove", name: lamp.name})))),
    button("Add a lamp", () =>
      { this.fresh = new Set(light.lamps.map((l) => l.name)); this.actions.commit({op: "lamp_add"}); },
      {testid: "lamp-add"})]);
    // A lamp that was just added is the one to be changed.
    const added = this.fresh && light.lamps.find((l) => !this.fresh.has(l.name));
    if (added) { this.fresh = null; this.store.set({lamp: added.name}); }
  }

  guesses(state, settled) {
    const list = state?.guesses ?? [], now = state?.light?.guess;
    this.chips.hidden = this.decide.hidden = !list.length;
    const look = JSON.stringify([list, settled?.plate?.name, settled?.objects.map((o) => [o.id, o.at, o.height_m,
      o.yaw_deg, o.material])]);
    rebuilt(this.chips, look, () => list.map((g) => h("button", {type: "button", class: "guess", testid: `guess-${g.n}`,
      on: {click: () => this.actions.commit({op: "guess", n: g.n})}},
    h("img", {src: `/api/guess/${g.n}.jpg?rev=${settled?.rev ?? 0}`, alt: "",
      on: {error: (e) => { e.target.hidden = true; }}}),
    h("span", {}, `${round(wrap(g.azimuth_deg), 0)}°`, h("small", {}, `${Math.round(100 * g.chance)} %`)))));
    [...this.chips.children].forEach((chip, k) => {
      chip.setAttribute("aria-pressed", String(list[k].n === now));
      chip.setAttribute("aria-label",
        `Guess ${list[k].n}: azimuth ${round(wrap(list[k].azimuth_deg), 0)} degrees, `
        + `chance ${Math.round(100 * list[k].chance)} percent`);
    });
  }
}
