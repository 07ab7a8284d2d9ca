// A small frame over a large plate: the plate stays sharp where the frame hardly differs from it.
//
// frame = small plate + change. The change is enlarged and added to the large plate (its bright part by "lighter", its
// dark part by "difference"); where it is strong, as on the object, the enlarged frame itself is laid over it. Blocks
// without a change worth the name are left alone, and only the box around the others is drawn.

const BLOCK = 6, NOISE = 5, FROM = 40, TO = 70;

let kept = {frame: null, small: null, parts: null};
const plates = new WeakMap();

function canvasOf(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return [canvas, canvas.getContext("2d", {willReadFrequently: true})];
}

function pixels(image, width, height) {
  const [, pen] = canvasOf(width, height);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(image, 0, 0, width, height);
  return pen.getImageData(0, 0, width, height);
}

function platePixels(small, width, height) {
  let known = plates.get(small);
  if (!known || known.width !== width || known.height !== height) {
    known = pixels(small, width, height);
    plates.set(small, known);
  }
  return known.data;
}

/** Largest change of each block of pixels. */
function changes(a, p, width, height, columns, rows) {
  const most = new Uint8Array(columns * rows);
  for (let y = 0, k = 0; y < height; y += 1) {
    const row = Math.floor(y / BLOCK) * columns;
    for (let x = 0; x < width; x += 1, k += 4) {
      const r = Math.abs(a[k] - p[k]), g = Math.abs(a[k + 1] - p[k + 1]), b = Math.abs(a[k + 2] - p[k + 2]);
      const top = r > g ? (r > b ? r : b) : g > b ? g : b, block = row + ((x / BLOCK) | 0);
      if (top > most[block]) most[block] = top;
    }
  }
  return most;
}

/** The largest of each block and those beside it: an object has no holes where it is of the plate's colour. */
function widened(most, columns, rows) {
  const wide = new Uint8Array(columns * rows);
  for (let y = 0; y < rows; y += 1) {
    for (let x = 0; x < columns; x += 1) {
      let top = 0;
      for (let v = Math.max(0, y - 1); v <= Math.min(rows - 1, y + 1); v += 1) {
        for (let u = Math.max(0, x - 1); u <= Math.min(columns - 1, x + 1); u += 1) top = Math.max(top,
          most[v * columns + u]);
      }
      wide[y * columns + x] = top;
    }
  }
  return wide;
}

/** {bright, dark, strong, box}: canvases of a box [x, y, width, height] of a frame; null where nothing changes. */
function partsOf(frame, small) {
  const {width, height} = frame, columns = Math.ceil(width / BLOCK), rows = Math.ceil(height / BLOCK);
  const f = pixels(frame, width, height), p = platePixels(small, width, height);
  const wide = widened(changes(f.data, p, width, height, columns, rows), columns, rows);
  let [x0, y0, x1, y1] = [columns, rows, -1, -1];
  wide.forEach((top, k) => {
    if (top <= NOISE) return;
    const x = k % columns, y = (k / columns) | 0;
    if (x < x0) x0 = x;
    if (x > x1) x1 = x;
    if (y < y0) y0 = y;
    y1 = y;
  });
  if (x1 < 0) return null;
  const left = x0 * BLOCK, top = y0 * BLOCK, right = Math.min(width, (x1 + 1) * BLOCK),
    foot = Math.min(height, (y1 + 1) * BLOCK);
  const w = right - left, h = foot - top, bright = new ImageData(w, h), dark = new ImageData(w, h);
  const mask = new ImageData(x1 - x0 + 1, y1 - y0 + 1);
  for (let y = 0, to = 0; y < h; y += 1) {
    for (let x = 0, from = 4 * ((y + top) * width + left); x < w; x += 1, from += 4, to += 4) {
      for (let c = 0; c < 3; c += 1) {
        const change = f.data[from + c] - p[from + c];
        if (change > 0) bright.data[to + c] = change; else dark.data[to + c] = -change;
      }
      bright.data[to + 3] = dark.data[to + 3] = 255;
    }
  }
  for (let y = 0, to = 3; y < mask.height; y += 1) {
    for (let x = 0; x < mask.width; x += 1, to += 4) mask.data[to] = 255 * (wide[(y + y0) * columns + x
      + x0] - FROM) / (TO - FROM);
  }
  const [strong, pen] = canvasOf(w, h);
  pen.putImageData(f, -left, -top);
  pen.globalCompositeOperation = "destination-in";
  pen.drawImage(drawn(mask), 0, 0, mask.width * BLOCK, mask.height * BLOCK);
  return {bright: drawn(bright), dark: drawn(dark), strong, box: [left, top, w, h]};
}

function drawn(data) {
  const [canvas, pen] = canvasOf(data.width, data.height);
  pen.putImageData(data, 0, 0);
  return canvas;
}

/** Draws a frame {bitmap} over the plate that is already there; `small`: the plate as the server makes it small. */
export function sharpened(pen, frame, small, width, height) {
  const {bitmap} = frame;
  if (kept.frame !== bitmap || kept.small !== small) kept = {frame: bitmap, small, parts: partsOf(bitmap, small)};
  if (!kept.parts) return;
  const {bright, dark, strong, box: [x, y, w, h]} = kept.parts, kx = width / bitmap.width, ky = height / bitmap.height;
  for (const [part, how] of [[dark, "difference"], [bright, "lighter"], [strong, "source-over"]]) {
    pen.globalCompositeOperation = how;
    pen.drawImage(part, x * kx, y * ky, w * kx, h * ky);
  }
  pen.globalCompositeOperation = "source-over";
}
