// The picture: plate and newest frame on a canvas, zoom and pan, before and after.

import {sharpened} from "./blend.js";
import {clamp} from "./geometry.js";

const MOVED_PX = 4;

export class Stage {
  constructor(canvas, area, store) {
    Object.assign(this, {canvas, area, store});
    this.pen = canvas.getContext("2d");
    this.plate = null;
    this.small = null;
    this.frame = null;
    this.layer = null;
    this.size = [0, 0];
    this.scale = 1;
    this.at = [0, 0];
    this.fitted = true;
    this.pointers = new Map();
    this.drag = null;
    this.tool = () => null;
    this.wheel = () => false;
    this.viewers = [];
    this.drawn = null;
    new ResizeObserver(() => this.resized()).observe(area);
    this.listen();
  }

  // ---- what is shown ----
  /** The plate (an image or null), (width, height) its full size in pixels. */
  setPlate(image, width, height) {
    const other = width !== this.size[0] || height !== this.size[1];
    this.plate = image;
    this.size = [width, height];
    if (!image) this.frame = this.layer = this.small = null;
    if (other) this.fit();
    this.draw();
  }

  /** A composite, or null: the plate. */
  setFrame(bitmap, meta) {
    this.frame?.bitmap.close?.();
    this.frame = bitmap && {bitmap, meta};
    this.draw();
  }

  // ---- where it is shown ----
  /** Stage position (CSS pixels) of a plate pixel, and back. */
  out([x, y]) {
    return [x * this.scale + this.at[0], y * this.scale + this.at[1]];
  }

  into([x, y]) {
    return [(x - this.at[0]) / this.scale, (y - this.at[1]) / this.scale];
  }

  /** Plate pixel under a pointer. */
  pixel(event) {
    const box = this.canvas.getBoundingClientRect();
    return this.into([event.clientX - box.left, event.clientY - box.top]);
  }

  get room() {
    return [this.area.clientWidth, this.area.clientHeight];
  }

  fit() {
    const [w, h] = this.room, [pw, ph] = this.size;
    this.fitted = true;
    if (!pw || !w) return;
    this.scale = Math.min((w - 24) / pw, (h - 24) / ph);
    this.at = [(w - pw * this.scale) / 2, (h - ph * this.scale) / 2];
    this.moved();
  }

  /** One pixel of the plate on one of the screen, about the middle or a point of the stage. */
  oneToOne() {
    this.zoomTo(1 / devicePixelRatio);
  }

  zoomTo(scale, about = null) {
    const [w, h] = this.room, [x, y] = about ?? [w / 2, h / 2];
    const [px, py] = this.into([x, y]);
    this.scale = clamp(scale, 0.02, 16);
    this.at = [x - px * this.scale, y - py * this.scale];
    this.fitted = false;
    this.moved();
  }

  pan(dx, dy) {
    this.at = [this.at[0] + dx, this.at[1] + dy];
    this.fitted = false;
    this.moved();
  }

  moved() {
    // Some of the picture stays in sight.
    const [w, h] = this.room;
    for (const k of [0, 1]) {
      const room = [w, h][k], long = this.size[k] * this.scale;
      this.at[k] = clamp(this.at[k], Math.min(40, room - 40) - long, room - 40);
    }
    this.draw();
    for (const f of this.viewers) f();
  }

  resized() {
    const [w, h] = this.room, ratio = devicePixelRatio || 1;
    this.canvas.width = Math.max(1, Math.round(w * ratio));
    this.canvas.height = Math.max(1, Math.round(h * ratio));
    if (this.fitted) this.fit(); else this.moved();
  }

  // ---- drawing ----
  draw() {
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame(() => {
      this.asked = false;
      this.paint();
      this.drawn?.(this.frame?.meta);
    });
  }

  paint() {
    const pen = this.pen, ratio = devicePixelRatio || 1, [w, h] = this.size;
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    if (!this.plate) return;
    pen.drawImage(this.background(ratio), 0, 0);
    this.aim(pen, ratio);
    const {before, wipe, sharp} = this.store.ui;
    if (before) return;
    pen.save();
    pen.beginPath();
    pen.rect(wipe * w, 0, w, h);
    pen.clip();
    if (this.layer) pen.drawImage(this.layer, 0, 0, w, h);
    else if (this.frame && sharp && this.coarse) sharpened(pen, this.frame, this.small ?? this.plate, w, h);
    else if (this.frame) pen.drawImage(this.frame.bitmap, 0, 0, w, h);
    pen.restore();
  }

  /** Whether the frame has fewer pixels than the plate that is shown. */
  get coarse() {
    return this.frame.bitmap.width < this.plate.naturalWidth;
  }

  aim(pen, ratio) {
    pen.setTransform(ratio * this.scale, 0, 0, ratio * this.scale, ratio * this.at[0], ratio * this.at[1]);
    pen.imageSmoothingEnabled = this.scale * ratio < 3;
    pen.imageSmoothingQuality = "medium";
  }

  /** The plate as it stands on the stage: drawn anew only when the view changes. */
  background(ratio) {
    const key = [this.scale, ...this.at, this.canvas.width, this.canvas.height].join();
    if (this.behind && this.behind.key === key && this.behind.plate === this.plate) return this.behind.canvas;
    const canvas = this.behind?.canvas ?? document.createElement("canvas");
    canvas.width = this.canvas.width;
    canvas.height = this.canvas.height;
    const pen = canvas.getContext("2d");
    this.aim(pen, ratio);
    pen.drawImage(this.plate, 0, 0, ...this.size);
    this.behind = {key, plate: this.plate, canvas};
    return canvas;
  }

  // ---- pointers ----
  listen() {
    const canvas = this.canvas;
    canvas.addEventListener("pointerdown", (e) => this.down(e));
    canvas.addEventListener("pointermove", (e) => this.move(e));
    canvas.addEventListener("pointerup", (e) => this.up(e, false));
    canvas.addEventListener("pointercancel", (e) => this.up(e, true));
    canvas.addEventListener("wheel", (e) => {
      e.preventDefault();
      if (!e.ctrlKey && this.wheel(e)) return;
      const box = canvas.getBoundingClientRect();
      const lines = e.deltaMode === 1 ? 30 : 1;
      this.zoomTo(this.scale * Math.exp(-clamp(e.deltaY * lines, -200, 200) / 500),
        [e.clientX - box.left, e.clientY - box.top]);
    }, {passive: false});
    canvas.addEventListener("contextmenu", (e) => { if (this.drag) e.preventDefault(); });
  }

  down(event) {
    this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
    this.canvas.setPointerCapture(event.pointerId);
    if (this.pointers.size === 2) {
      this.drag?.cancel?.();
      this.drag = this.pinch();
      return;
    }
    if (this.pointers.size > 2 || event.button === 2) return;
    const free = event.button === 1 || event.altKey;
    this.from = [event.clientX, event.clientY];
    this.far = false;
    this.drag = (!free && this.plate && this.tool(this.pixel(event), event)) || this.panning(event);
    if (event.button === 1) event.preventDefault();
  }

  panning(event) {
    let last = [event.clientX, event.clientY];
    return {move: (e) => {
      this.pan(e.clientX - last[0], e.clientY - last[1]);
      last = [e.clientX, e.clientY];
    }};
  }

  pinch() {
    const spread = () => {
      const [a, b] = [...this.pointers.values()];
      return {middle: [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2], apart: Math.hypot(a[0] - b[0], a[1] - b[1])};
    };
    let last = spread();
    return {move: () => {
      const now = spread(), box = this.canvas.getBoundingClientRect();
      this.pan(now.middle[0] - last.middle[0], now.middle[1] - last.middle[1]);
      this.zoomTo(this.scale * now.apart / Math.max(1, last.apart), [now.middle[0] - box.left,
        now.middle[1] - box.top]);
      last = now;
    }};
  }

  move(event) {
    if (!this.pointers.has(event.pointerId)) {
      this.hover?.(this.pixel(event), event);
      return;
    }
    this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
    if (!this.drag) return;
    if (!this.far && this.pointers.size === 1 && this.from
      && Math.hypot(event.clientX - this.from[0], event.clientY - this.from[1]) < MOVED_PX) return;
    this.far = true;
    this.drag.move(event, this.pixel(event));
  }

  up(event, cancelled) {
    if (!this.pointers.delete(event.pointerId)) return;
    if (this.pointers.size) return;
    const drag = this.drag;
    this.drag = null;
    if (cancelled) drag?.cancel?.();
    else drag?.up?.(event, this.pixel(event), this.far);
  }
}
