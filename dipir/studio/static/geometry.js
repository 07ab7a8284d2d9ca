// Angles and lines: the compass, the lat-long map and the camera. No page in here.

const RAD = Math.PI / 180;

/** Degrees in (-180, 180]. */
export function wrap(degrees) {
  const turned = ((degrees + 180) % 360 + 360) % 360 - 180;
  return turned === -180 ? 180 : turned;
}

export const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

export const round = (value, digits = 1) => Number(value.toFixed(digits));

/** Point of the dial of radius 1: zenith in the middle, horizon on the rim, behind the subject on top. */
export function onDial(azimuth, elevation) {
  const r = elevation >= 0 ? (90 - elevation) / 90 : 1 + 0.1 * Math.min(1, -elevation / 45);
  return [r * Math.sin(azimuth * RAD), r * Math.cos(azimuth * RAD)];
}

/** (azimuth, elevation) of a point of the dial; points outside the rim are taken to it. */
export function fromDial(x, y) {
  const r = Math.min(Math.hypot(x, y), 1);
  const azimuth = r < 1e-6 ? 0 : wrap(Math.atan2(x, y) / RAD);
  return [azimuth, clamp(90 - 90 * r, 1, 90)];
}

/** (u, v) in [0, 1] of the lat-long map, whose middle is behind the subject. */
export function onMap(azimuth, elevation) {
  const u = -azimuth / 360;
  return [u - Math.floor(u), (90 - elevation) / 180];
}

/** (azimuth, elevation) of a point of the map. */
export function fromMap(u, v) {
  return [wrap(-360 * clamp(u, 0, 1)), clamp(90 - 180 * v, -90, 90)];
}

/** Focal length in pixels. */
export const focal = (width, fov) => 0.5 * width / Math.tan(fov * RAD / 2);

export const fovOf = (width, focalPx) => 2 * Math.atan(0.5 * width / focalPx) / RAD;

/** {pitch_deg, roll_deg} of a camera whose horizon meets the left edge at y0 and the right edge at y1. */
export function anglesOf(width, height, fov, y0, y1) {
  const roll = Math.atan2(y0 - y1, width);
  const pitch = Math.atan((height / 2 - (y0 + y1) / 2) * Math.cos(roll) / focal(width, fov));
  return {pitch_deg: clamp(pitch / RAD, -89, 89), roll_deg: clamp(roll / RAD, -89, 89)};
}

/** [y0, y1] of the horizon at the left and the right edge. */
export function horizonOf(width, height, camera) {
  const roll = camera.roll_deg * RAD;
  const middle = height / 2 - focal(width, camera.fov_deg) * Math.tan(camera.pitch_deg * RAD) / Math.cos(roll);
  return [middle + width / 2 * Math.tan(roll), middle - width / 2 * Math.tan(roll)];
}

/** Where two lines meet, each a pair of points; null when they are parallel. */
export function meeting([[ax, ay], [bx, by]], [[cx, cy], [dx, dy]]) {
  const ux = bx - ax, uy = by - ay, vx = dx - cx, vy = dy - cy;
  const cross = ux * vy - uy * vx;
  if (Math.abs(cross) < 1e-9 * (Math.hypot(ux, uy) * Math.hypot(vx, vy) + 1e-9)) return null;
  const t = ((cx - ax) * vy - (cy - ay) * vx) / cross;
  return [ax + t * ux, ay + t * uy];
}

/** {fov_deg} at which two edges that are parallel on the ground meet on the horizon, the pitch as it is; or {why}. */
export function fovOfParallels(width, height, camera, one, other) {
  const point = meeting(one, other);
  if (!point) return {why: "The two lines are parallel in the picture too: they say nothing of the field of view."};
  const roll = camera.roll_deg * RAD, pitch = camera.pitch_deg * RAD;
  if (Math.abs(camera.pitch_deg) < 2) {
    return {why: "The camera looks level (pitch below 2 degrees): parallel edges say nothing of the field of view. "
      + "Use two edges at a right angle."};
  }
  const above = height / 2 + (width / 2 - point[0]) * Math.tan(roll) - point[1];
  return checked(width, above * Math.cos(roll) / Math.tan(pitch));
}

/** {fov_deg, pitch_deg} at which two edges stand at a right angle on the ground, the horizon as it is; or {why}. */
export function fovOfRightAngle(width, height, camera, one, other) {
  const [y0, y1] = horizonOf(width, height, camera);
  const horizon = [[0, y0], [width, y1]];
  const a = meeting(one, horizon), b = meeting(other, horizon);
  if (!a || !b) return {why: "A line runs along the horizon: it says nothing of the field of view."};
  const square = -((a[0] - width / 2) * (b[0] - width / 2) + (a[1] - height / 2) * (b[1] - height / 2));
  const found = checked(width, square > 0 ? Math.sqrt(square) : -1);
  return found.why ? found : {...found, pitch_deg: anglesOf(width, height, found.fov_deg, y0, y1).pitch_deg};
}

function checked(width, focalPx) {
  const fov = focalPx > 0 ? fovOf(width, focalPx) : -1;
  if (fov >= 5 && fov <= 150) return {fov_deg: fov};
  return {why: "No field of view from 5 to 150 degrees fits these lines and this horizon: set the horizon first, then "
    + "lay the lines along edges on the ground."};
}

/** "#rrggbb" of a linear BT.709 colour, and back. */
export function hexOf(linear) {
  const byte = (v) => Math.round(255 * clamp(v <= 0.0031308 ? 12.92 * v : 1.055 * v ** (1 / 2.4) - 0.055, 0, 1));
  return "#" + linear.map((v) => byte(v).toString(16).padStart(2, "0")).join("");
}

export function linearOf(hex) {
  const unit = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255);
  return unit.map((v) => round(v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4, 5));
}
