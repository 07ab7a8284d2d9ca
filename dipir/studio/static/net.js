// The server: requests, uploads, and the one socket with its edits, states and frames.

/** What the server answered to a request that failed; its text is for people. */
export class Refused extends Error {
  constructor(text, status) {
    super(text);
    this.status = status;
  }
}

async function answerOf(response) {
  if (response.ok) return response;
  const body = await response.text();
  let words = body.trim().split("\n")[0].slice(0, 600);
  try { words = JSON.parse(body).error ?? words; } catch { /* a plain line */ }
  throw new Refused(words || `The server answered ${response.status}.`, response.status);
}

/** JSON of a request; Refused when it fails. */
export async function api(path, method = "GET", body = undefined) {
  const headers = body === undefined ? {} : {"Content-Type": "application/json"};
  let response;
  try {
    response = await fetch(path, {method, headers, body: body === undefined ? undefined : JSON.stringify(body)});
  } catch {
    throw new Refused("The server does not answer. Is `dipir studio` still running?", 0);
  }
  const got = await answerOf(response);
  return (got.headers.get("Content-Type") ?? "").includes("json") ? got.json() : got.text();
}

/** Send a file; progress(share) in [0, 1]. */
export function upload(kind, file, progress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `/api/upload?kind=${kind}`);
    request.setRequestHeader("X-Filename", encodeURIComponent(file.name));
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.onprogress = (e) => { if (e.lengthComputable) progress(e.loaded / e.total); };
    request.onerror = () => reject(new Refused(`${file.name}: the connection broke while it was sent.`, 0));
    request.onload = () => {
      let answer = {};
      try { answer = JSON.parse(request.responseText); } catch { /* a plain line */ }
      if (request.status < 300) resolve(answer);
      else reject(new Refused(answer.error ?? (request.responseText.slice(0, 600)
        || `The server answered ${request.status}.`), request.status));
    };
    request.send(file);
  });
}

const WAIT_MS = 700;
const BACK_OFF_MS = [300, 700, 1500, 3000, 5000];

/** The socket: drag() sends at most one change per frame that comes back, the newest; commit() sends at once. */
export class Live {
  constructor({state, job, note, error, frame, status}) {
    this.hear = {state, job, note, error, frame, status};
    this.n = 0;
    this.tries = 0;
    this.waiting = null;
    this.flying = null;
    this.begun = new Map();
    this.socket = null;
  }

  connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/api/live`);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    socket.onopen = () => {
      this.tries = 0;
      this.flying = this.waiting = null;
      this.hear.status(true);
    };
    socket.onmessage = (event) => (typeof event.data === "string" ? this.words(JSON.parse(event.data))
      : this.picture(event.data));
    socket.onclose = () => {
      const ms = BACK_OFF_MS[Math.min(this.tries, BACK_OFF_MS.length - 1)];
      this.tries += 1;
      this.hear.status(false, ms, this.tries);
      setTimeout(() => this.connect(), ms);
    };
  }

  get open() {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  words(message) {
    if (message.event === "state") this.hear.state(message.state);
    else if (message.event === "job") this.hear.job(message.job);
    else if (message.event === "note") this.hear.note(message.text);
    else if (message.event === "error") {
      this.landed(message.n);
      this.hear.error(message.text, message.n);
    }
  }

  picture(data) {
    const length = new DataView(data).getUint32(0, true);
    const meta = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
    meta.begun = this.begun.get(meta.n);
    for (const n of this.begun.keys()) if (n <= meta.n) this.begun.delete(n);
    this.landed(meta.n);
    this.hear.frame(meta, new Blob([new Uint8Array(data, 4 + length)], {type: "image/jpeg"}));
  }

  landed(n) {
    if (this.flying === null || !(n >= this.flying)) return;
    this.flying = null;
    this.pump();
  }

  /** A change on the way; those in between are dropped. */
  drag(edit) {
    this.waiting = {edit, at: performance.now()};
    this.pump();
  }

  pump() {
    if (!this.waiting || this.flying !== null || !this.open) return;
    const {edit, at} = this.waiting, n = ++this.n;
    this.waiting = null;
    this.flying = n;
    this.begun.set(n, at);
    this.socket.send(JSON.stringify({n, edit, transient: true}));
    setTimeout(() => this.landed(n), WAIT_MS);
  }

  /** A change that can be undone; over a request when the socket is shut. */
  async commit(edit) {
    this.waiting = this.flying = null;
    if (this.open) {
      const n = ++this.n;
      this.begun.set(n, performance.now());
      this.socket.send(JSON.stringify({n, edit}));
      return;
    }
    const answer = await api("/api/edit", "POST", edit);
    if (answer.state) this.hear.state(answer.state);
  }

  /** The size of the pictures while something is dragged. */
  view(longest) {
    if (this.open) this.socket.send(JSON.stringify({view: {longest}}));
  }
}
