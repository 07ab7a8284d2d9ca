// Where the lamps are: a dial seen from above, and the lat-long map of the light.

import {attrs, draggable, h, rebuilt, s, text} from "./dom.js";
import {clamp, fromDial, fromMap, onDial, onMap, round, wrap} from "./geometry.js";
import {placeOf} from "./store.js";

const R = 100, PICK = 20;

/** What the dial and the map share: lamps as dots, the nearest taken, a change for each move. */
class Dots {
  constructor(store, actions, node, toPoint, fromPoint) {
    Object.assign(this, {store, actions, node, toPoint, fromPoint});
    this.dots = s("g");
    node.append(this.dots);
    let name = null;
    draggable(node, {
      start: (e) => {
        const light = store.shown?.light;
        if (!light) return false;
        const at = this.point(e);
        name = this.nearest(light.lamps, at) ?? store.lamp?.name ?? "sun";
        if (store.lamp?.name !== name) store.set({lamp: name});
        this.last = null;
        node.focus({preventScroll: true});
        // A touch on a dot alone moves nothing; beside it the lamp comes there at once.
        if (this.near === null) this.go(name, at);
      },
      move: (e) => this.go(name, this.point(e)),
      end: () => { if (this.last) actions.commit(this.last); this.last = null; },
    });
  }

  point(event) {
    const spot = this.node.createSVGPoint();
    [spot.x, spot.y] = [event.clientX, event.clientY];
    const {x, y} = spot.matrixTransform(this.node.getScreenCTM().inverse());
    return [x, y];
  }

  nearest(lamps, [x, y]) {
    const far = lamps.map((lamp) => {
      const [lx, ly] = this.toPoint(lamp.azimuth_deg, lamp.elevation_deg);
      return Math.hypot(lx - x, ly - y);
    });
    const best = Math.min(...far, Infinity);
    this.near = best < PICK ? lamps[far.indexOf(best)].name : null;
    return this.near;
  }

  go(name, point) {
    const [azimuth, elevation] = this.fromPoint(...point);
    this.last = {op: "lamp", name, azimuth_deg: round(azimuth, 1), elevation_deg: round(elevation, 1)};
    this.actions.drag(this.last);
  }

  update(state) {
    const lamps = state?.light?.lamps ?? [];
    rebuilt(this.dots, JSON.stringify(lamps.map((lamp) => lamp.name)), () => lamps.map((lamp, k) => s("g", {},
      s("circle", {class: "halo", r: 15}), s("circle", {class: k ? "lamp" : "lamp sun", r: k ? 6 : 7.5}),
        s("title", {}, lamp.name))));
    lamps.forEach((lamp, k) => {
      const [x, y] = this.toPoint(lamp.azimuth_deg, lamp.elevation_deg), node = this.dots.childNodes[k];
      attrs(node, {transform: `translate(${x.toFixed(2)} ${y.toFixed(2)})`,
        class: [lamp.name === this.store.lamp?.name ? "chosen" : "", lamp.elevation_deg < 0 ? "below"
          : ""].join(" ").trim()});
    });
  }
}

export class Compass {
  constructor(store, actions) {
    this.store = store;
    this.ghosts = s("g", {class: "ghosts"});
    this.shadow = s("line", {class: "shadow"});
    this.node = s("svg", {class: "dial", viewBox: "-124 -124 248 248", tabindex: 0, role: "application",
      testid: "compass",
      "aria-label": "Compass of the lamps: the middle is overhead, the rim the horizon, behind the subject on top. "
        + "Arrow keys turn and raise the chosen lamp."},
    s("circle", {class: "sky", r: R}), ...[30, 60].map((e) => s("circle", {class: "ring", r: R * (90 - e) / 90})),
    s("path", {class: "ring", d: `M-${R} 0H${R}M0-${R}V${R}`}),
    ...[[0, -111, "behind"], [0, 117, "camera"], [-114, 4, "left"], [114, 4, "right"]].map(([x, y, words]) => s("text",
      {x, y, class: "side", transform: words === "left" ? "rotate(-90 -114 0)" : words === "right" ? "rotate(90 114 0)"
        : null}, words)),
    s("text", {class: "scale", x: 3, y: -R * 2 / 3 - 2}, "30°"), s("text", {class: "scale", x: 3, y: -R / 3 - 2},
      "60°"),
    this.ghosts, this.shadow, s("path", {class: "subject", d: "M0-6 5 5H-5Z"}));
    this.dots = new Dots(store, actions, this.node, (a, e) => onDial(a, e).map((v) => v * R),
      (x, y) => fromDial(x / R, y / R));
    this.words = h("p", {class: "under center"});
  }

  update(state) {
    this.dots.update(state);
    const lamp = this.store.lamp, sun = state?.light?.lamps[0];
    text(this.words, lamp ? `${lamp.name}: ${placeOf(lamp)}` : state?.light ? "No lamp: all the light is around." : "");
    attrs(this.node, {class: state?.light ? "dial" : "dial off"});
    // The shadow's direction on the ground, seen from above.
    if (sun && sun.elevation_deg > 0) {
      const [x, y] = onDial(sun.azimuth_deg, 0), length = clamp(9 / Math.tan(sun.elevation_deg * Math.PI / 180), 4,
        R * 0.8);
      attrs(this.shadow, {x1: 0, y1: 0, x2: (-x * length).toFixed(1), y2: (-y * length).toFixed(1), display: "inline",
        "stroke-opacity": (0.25 + 0.7 * (sun.share ?? 0.5)).toFixed(2)});
    } else attrs(this.shadow, {display: "none"});
    const guesses = state?.guesses ?? [];
    rebuilt(this.ghosts, JSON.stringify(guesses), () => guesses.map((g) => {
      const [x, y] = onDial(g.azimuth_deg, g.elevation_deg);
      return s("text", {x: x * R, y: y * R + 3.5}, String(g.n));
    }));
  }
}

export class LightMap {
  constructor(store, actions) {
    this.image = h("img", {alt: "The light all around, behind the subject in the middle", draggable: "false"});
    this.image.addEventListener("error", () => { this.image.hidden = true; });
    this.image.addEventListener("load", () => { this.image.hidden = false; });
    this.svg = s("svg", {viewBox: "0 0 360 180", "aria-hidden": "true"},
      s("path", {class: "ring", d: "M0 90H360M90 0V180M180 0V180M270 0V180"}));
    this.node = h("figure", {class: "map"}, this.image, this.svg,
      h("figcaption", {}, ...["camera", "left", "behind", "right", "camera"].map((w) => h("span", {}, w))));
    this.dots = new Dots(store, actions, this.svg, (a, e) => onMap(a, e).map((v, k) => v * (k ? 180 : 360)),
      (x, y) => fromMap(x / 360, y / 180));
    this.key = "";
  }

  update(state, _, settled) {
    this.dots.update(state);
    attrs(this.node, {class: state?.light ? "map" : "map off"});
    const light = settled?.light;
    if (!light) return;
    const key = [light.base, light.guess, wrap(light.rotate_deg ?? 0), light.ambient_stops, light.exposure_stops,
      settled.plate?.name].join("|");
    if (key === this.key) return;
    this.key = key;
    this.image.src = `/api/light.jpg?rev=${settled.rev}`;
  }
}
