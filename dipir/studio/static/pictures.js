// Pictures from the server: the plate at the screen's size, frames of the socket, layers.

const SLOW = 2000, PATIENCE = 1500;

/** An image of an address; rejects when there is none. */
function fetched(address) {
  return new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => reject(new Error(address));
    image.src = address;
  });
}

export class Pictures {
  constructor(stage, store, messages) {
    Object.assign(this, {stage, store, messages});
    this.plate = "";
    this.fewest = 0;
    this.newest = 0;
    this.layer = "";
    this.smalls = new Map();
  }

  static plateKey(plate) {
    return plate ? [plate.id ?? "", plate.name, plate.width, plate.height].join("|") : "";
  }

  /** Size at which the plate is fetched: the screen's, whole only when it is small. */
  longest(plate) {
    const screen = Math.max(window.screen.width, window.screen.height) * (devicePixelRatio || 1);
    return Math.min(Math.max(plate.width, plate.height), 4096, Math.max(2048, Math.ceil(screen / 512) * 512));
  }

  /** Fetch what the state asks for and is not there yet. */
  async update(state, ui, settled) {
    const key = Pictures.plateKey(state?.plate);
    if (state && key !== this.plate) await this.takePlate(state, key);
    this.takeLayer(ui, settled);
  }

  async takePlate(state, key) {
    this.plate = key;
    this.fewest = state.rev;
    this.smalls.clear();
    this.stage.setFrame(null);
    if (!state.plate) {
      this.stage.setPlate(null, 0, 0);
      return;
    }
    try {
      const image = await fetched(`/api/plate.jpg?longest=${this.longest(state.plate)}&rev=${state.rev}`);
      if (this.plate !== key) return;
      this.stage.setPlate(image, state.plate.width, state.plate.height);
      performance.mark("plate-shown");
      if (state.objects.length) this.first();
    } catch {
      this.plate = "";
      this.messages.error("The photo could not be shown: the server sent no picture of it.");
    }
  }

  /** The picture as it is, when no frame has come by itself. */
  async first() {
    const seen = this.newest;
    await new Promise((resolve) => setTimeout(resolve, PATIENCE));
    if (this.newest !== seen) return;
    try {
      const image = await fetched(`/api/frame.jpg?longest=512&rev=${this.store.state?.rev ?? 0}`);
      if (this.newest === seen) this.show(image, {kind: "refined", w: image.naturalWidth, h: image.naturalHeight});
    } catch { /* it comes over the socket */ }
  }

  /** A frame of the socket. */
  async frame(meta, blob) {
    if (meta.rev < this.fewest) return;
    const number = ++this.newest;
    let bitmap;
    try {
      bitmap = await createImageBitmap(blob);
    } catch {
      return;
    }
    if (number < this.newest - 1 || number < (this.shown ?? 0)) { bitmap.close(); return; }
    this.shown = number;
    this.show(bitmap, meta);
  }

  async show(bitmap, meta) {
    if (!this.stage.plate) return;
    const longest = Math.max(bitmap.width, bitmap.height), whole = Math.max(this.stage.plate.naturalWidth,
      this.stage.plate.naturalHeight);
    this.stage.small = longest < whole ? this.smalls.get(`${bitmap.width}x${bitmap.height}`) ?? null : null;
    this.stage.setFrame(bitmap, meta);
    this.store.changed();
    if (longest < whole && !this.stage.small && !this.smalls.has(longest)) this.takeSmall(longest);
  }

  /** The plate as small as a frame, by the server's own reduction. */
  async takeSmall(longest) {
    this.smalls.set(longest, null);
    try {
      const key = this.plate, image = await fetched(`/api/plate.jpg?longest=${longest}&rev=${this.fewest}`);
      if (key !== this.plate) return;
      this.smalls.set(`${image.naturalWidth}x${image.naturalHeight}`, image);
      const bitmap = this.stage.frame?.bitmap;
      if (bitmap && bitmap.width === image.naturalWidth && bitmap.height === image.naturalHeight) {
        this.stage.small = image;
        this.stage.draw();
      }
    } catch { setTimeout(() => this.smalls.delete(longest), SLOW); }
  }

  // ---- layers ----
  async takeLayer(ui, settled) {
    const name = ui.layer === "picture" ? "" : ui.layer;
    const key = name && settled?.objects.length ? `${name}|${settled.rev}` : "";
    if (key === this.layer) return;
    this.layer = key;
    if (!key) {
      this.stage.layer = null;
      this.stage.draw();
      return;
    }
    try {
      const image = await fetched(`/api/layer/${name}.jpg?rev=${settled.rev}`);
      if (this.layer === key) this.stage.layer = image;
    } catch {
      if (this.layer !== key) return;
      this.stage.layer = null;
      this.messages.error(`The layer "${name}" could not be fetched.`);
    }
    this.stage.draw();
  }
}
