// The connection to the bridge: Server-sent events, which begin again after a loss.

const SILENCE_MS = 6000;
const AGAIN_MS = 2000;

/** Calls `take(name, value)` for each event, and `lost(since)` while none comes: milliseconds since 1970, null once one came. */
export class Stream {
  constructor(take, lost) {
    this.take = take;
    this.lost = lost;
    this.last = Date.now();
    this.isLost = false;
    this.open();
    setInterval(() => this.watch(), 1000);
  }

  open() {
    const source = new EventSource("/events");
    this.source = source;
    for (const name of ["hello", "state", "change"]) {
      source.addEventListener(name, (event) => {
        if (source !== this.source) return;
        this.last = Date.now();
        if (this.isLost) {
          this.isLost = false;
          this.lost(null);
        }
        this.take(name, JSON.parse(event.data));
      });
    }
    source.addEventListener("error", () => {
      if (source !== this.source) return;
      this.lose();
      // A browser gives up after an answer that is none; after a lost connection it tries again itself.
      if (source.readyState === EventSource.CLOSED) this.again();
    });
  }

  again() {
    this.source.close();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.open(), AGAIN_MS);
  }

  lose() {
    this.isLost = true;
    this.lost(this.last);
  }

  // A bridge that hangs closes nothing.
  watch() {
    if (Date.now() - this.last > SILENCE_MS && !this.isLost) {
      this.lose();
      this.again();
    } else if (this.isLost) this.lost(this.last);
  }
}
