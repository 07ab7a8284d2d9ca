// The page: parts made, joined and kept up to date.

import {Actions} from "./actions.js";
import {CameraView} from "./camera.js";
import {fileButton} from "./controls.js";
import {button, h, icon, iconButton, s, text} from "./dom.js";
import {listenKeys, showHelp} from "./keys.js";
import {Match} from "./match.js";
import {Messages} from "./messages.js";
import {api, Live} from "./net.js";
import {PanelKeep} from "./panel_keep.js";
import {PanelLight} from "./panel_light.js";
import {liveSize, PanelLook, Wipe} from "./panel_look.js";
import {PanelOpen, PLATES} from "./panel_open.js";
import {PanelPlace} from "./panel_place.js";
import {Pictures} from "./pictures.js";
import {Placing} from "./place.js";
import {Stage} from "./stage.js";
import {Store} from "./store.js";
import {TopBar} from "./topbar.js";

const TABS = {open: "Open", place: "Place", light: "Light", look: "Look", keep: "Keep"};
const QUALITY = {drag: "quick", refined: "all bounces", traced: "path traced", fit: "fitting"};
const MEASURES = 500;
const get = (id) => document.getElementById(id);

// ---- parts ----
const store = new Store();
const messages = new Messages(get("foot"));
const stage = new Stage(get("stage"), get("stage-area"), store);
const pictures = new Pictures(stage, store, messages);
const live = new Live({state: (state) => store.receive(state), job, note: (words) => messages.note(words),
  error: refused,
  frame: (meta, blob) => pictures.frame(meta, blob), status: connection});
const actions = new Actions(store, live, messages);
const overlay = get("overlay");
const layers = ["camera", "place", "match", "wipe"].map((name) => s("g", {class: `layer-${name}`}));
overlay.append(...layers);
const camera = new CameraView(stage, store, actions, layers[0]);
const placing = new Placing(stage, store, actions, layers[1]);
const match = new Match(stage, store, actions, layers[2], get("banner"));
const wipe = new Wipe(stage, store, layers[3]);
const top = new TopBar(get("top"), store, actions, showHelp);
const pages = Object.fromEntries(Object.keys(TABS).map((name) => [name,
  h("section", {id: `page-${name}`, role: "tabpanel",
  "aria-labelledby": `tab-${name}`, tabindex: -1})]));
const panels = {open: new PanelOpen(pages.open, store, actions, camera), place: new PanelPlace(pages.place, store,
  actions),
  light: new PanelLight(pages.light, store, actions, match), look: new PanelLook(pages.look, store, stage, live),
  keep: new PanelKeep(pages.keep, store, actions)};
const tabs = makeTabs();
const tools = makeTools();

// ---- joined ----
stage.tool = (pixel) => (store.ui.match ? match.tool() : store.ui.tab === "place" ? placing.tool(pixel) : null);
stage.wheel = (e) => store.ui.tab === "place" && placing.wheel(e);
stage.viewers.push(() => store.changed());
stage.drawn = measured;
store.listen((state, ui, settled) => {
  for (const part of [top, camera, placing, match, wipe, tools, tabs]) part.update(state, ui, settled);
  panels[ui.tab].update(state, ui, settled);
  pictures.update(state, ui, settled);
  document.body.dataset.tab = ui.tab;
  get("empty").hidden = Boolean(state?.plate) || !state;
  document.title = state?.plate ? `${state.plate.name} · dipir studio` : "dipir studio";
  messages.notes([...(state?.plate?.notes ?? []), ...(state?.notes ?? [])]);
  // The picture itself is drawn anew when a frame comes or the view moves, not for every change of a slider.
  const look = [ui.before, ui.wipe, ui.sharp].join();
  if (look !== stage.look) {
    stage.look = look;
    stage.draw();
  }
});
actions.acceptDrops(get("drop-veil"));
listenKeys({store, actions, stage, match, render: () => panels.keep.render()});
addEventListener("beforeunload", () => actions.flush());
get("empty").append(fileButton({label: "Drop a photo here", testid: "drop-first", accept: PLATES, mark: icon("photo"),
  hint: "or click to choose one. Nothing leaves this machine.", taken: (files) => actions.files(files, files.length > 1
    ? null : "plate")}).node);
begin();

// ---- tabs and tools ----
function makeTabs() {
  const list = get("tabs"), names = Object.keys(TABS);
  const made = names.map((name) => h("button", {type: "button", role: "tab", id: `tab-${name}`, testid: `tab-${name}`,
    "aria-controls": `page-${name}`, on: {click: (e) => turn(name, e.detail > 0)}}, TABS[name]));
  const turn = (name, pointed) => {
    store.set({tab: name});
    // After a click the arrows turn the sun; from the keyboard they go from tab to tab.
    if (pointed) requestAnimationFrame(() => pages[name].focus({preventScroll: true}));
  };
  list.append(...made);
  list.addEventListener("keydown", (e) => {
    const step = {ArrowLeft: -1, ArrowRight: 1}[e.key];
    if (!step) return;
    e.preventDefault();
    const next = (names.indexOf(store.ui.tab) + step + names.length) % names.length;
    store.set({tab: names[next]});
    made[next].focus();
  });
  get("pages").append(...Object.values(pages));
  let before = "";
  return {update(state, ui) {
    names.forEach((name, k) => {
      const on = name === ui.tab;
      made[k].setAttribute("aria-selected", String(on));
      made[k].tabIndex = on ? 0 : -1;
      pages[name].hidden = !on;
    });
    if (before && before !== ui.tab) get("pages").scrollTop = 0;
    if (before !== ui.tab && ui.match && ui.tab !== "light") store.set({match: null});
    before = ui.tab;
  }};
}

function makeTools() {
  const zoom = h("span", {class: "zoom"});
  const before = button("Before", () => store.set({before: !store.ui.before}),
    {testid: "before-after", "aria-pressed": "false", title: "Before and after (B)"});
  get("stage-tools").append(before, iconButton("minus", "Zoom out", () => stage.zoomTo(stage.scale / 1.25),
    {"data-wide": true}), zoom,
    iconButton("plus", "Zoom in", () => stage.zoomTo(stage.scale * 1.25), {"data-wide": true}),
      button("Fit", () => stage.fit(), {title: "Fit (F)"}),
    button("1:1", () => stage.oneToOne(), {title: "One pixel of the photo on one of the screen (1)"}));
  return {update(state, ui) {
    get("stage-tools").hidden = !state?.plate;
    before.setAttribute("aria-pressed", String(ui.before));
    text(zoom, `${Math.round(100 * stage.scale * (devicePixelRatio || 1))} %`);
    const meta = stage.frame?.meta;
    const quality = meta ? QUALITY[meta.kind] ?? "" : "";
    text(get("badge"), ui.before ? "the photo" : stage.layer ? `layer: ${ui.layer}` : quality);
    stage.canvas.setAttribute("aria-label", state?.plate
      ? `The picture: ${state.plate.name} with ${state.objects.length} objects` : "The picture");
  }};
}

// ---- the server speaks ----
function job(now) {
  const before = store.state?.job;
  if (!store.state) return;
  if (now?.state === "failed" && !(before?.id === now.id && before?.state === "failed")) {
    messages.error(now.error ?? "The job failed.");
  }
  if (now?.state === "done" && now.kind === "render" && !(before?.id === now.id && before.state === "done")) {
    messages.say("The final picture is ready: see Keep.", "note");
  }
  store.receiveJob(now);
}

function refused(words) {
  store.forget();
  messages.error(words);
}

async function connection(open, ms, tries) {
  store.set({connected: open});
  if (open) {
    messages.hold(null);
    live.view(liveSize());
    store.expectAny();
    return;
  }
  messages.hold(`The connection to the server is lost; trying again in ${(ms / 1000).toFixed(1)} s.`);
  if (tries < 2) return;
  try {
    await api("/api/state");
  } catch (problem) {
    if (problem.status === 401 || problem.status === 403) {
      messages.hold("The server was started anew and has a new key: open the address that it printed in the terminal. "
        + "The session is kept.");
    }
  }
}

/** From a change to its picture on the screen, for benchmarks/studio.py. */
function measured(meta) {
  if (!meta || meta.begun === undefined || meta.counted) return;
  meta.counted = true;
  performance.measure(`picture-${meta.kind}`, {start: meta.begun, end: performance.now(),
    detail: {w: meta.w, ms: meta.ms}});
  if (performance.getEntriesByType("measure").length > MEASURES) performance.clearMeasures();
  store.changed();
}

async function begin() {
  store.changed();
  try {
    const state = await api("/api/state");
    store.receive(state);
    store.set({tab: state.plate ? (state.objects.length ? "light" : "place") : "open"});
  } catch (problem) {
    messages.error(problem.message);
  }
  live.connect();
  performance.mark("page-ready");
}
