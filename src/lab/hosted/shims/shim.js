// Virtual time for a Node.js program: loaded before its own code (NODE_OPTIONS=--require), it takes
// the time and the timers from the folder NODE_CLOCK, and what is random from NODE_SEED.
//
// Covered: setTimeout, setInterval, timers, timers/promises, AbortSignal.timeout, Date,
// performance.now, process.hrtime and uptime, Math.random, and crypto's random values. Not covered:
// timeouts of sockets and of http, workers, and processes that are started.
'use strict';

const folder = process.env.NODE_CLOCK;
if (folder && require('worker_threads').isMainThread) {
  install(folder);
}

function install(folder) {
  const fs = require('fs');
  const net = require('net');
  const timers = require('timers');
  const timersPromises = require('timers/promises');
  const util = require('util');
  const crypto = require('crypto');
  const { performance } = require('perf_hooks');

  const asks = fs.openSync(`${folder}/asks`, 'w');
  const nowFile = fs.openSync(`${folder}/now`, 'r');
  const buffer = Buffer.alloc(8);
  fs.writeSync(asks, 'hello node\n');

  function nowNs() {
    fs.readSync(nowFile, buffer, 0, 8, 0);
    return buffer.readBigUInt64LE();
  }
  const beganNs = nowNs();
  const nowMs = () => Number(nowNs() / 1_000_000n);
  let latest = 0n;
  function sinceNs() {
    // A wall clock may be set back; this one may not.
    const since = nowNs() - beganNs;
    if (since > latest) latest = since;
    return latest;
  }

  // ---- timers ----------------------------------------------------------------------------------

  const pending = new Map(); // id -> Timeout
  let last = 0;
  let refs = 0; // Of the pending timers, those that keep the process alive.
  let socket = null;

  function listen() {
    const { O_RDONLY, O_NONBLOCK } = fs.constants;
    const fd = fs.openSync(`${folder}/wakes`, O_RDONLY | O_NONBLOCK);
    socket = new net.Socket({ fd, readable: true, writable: false });
    let rest = '';
    socket.on('data', (data) => {
      const lines = (rest + data).split('\n');
      rest = lines.pop();
      for (const line of lines) {
        const timeout = pending.get(Number(line));
        if (timeout) timeout._fire();
      }
    });
    socket.on('error', () => {});
    socket.unref();
  }

  function keep(change) {
    const before = refs;
    refs += change;
    if (before === 0 && refs > 0) socket.ref();
    if (before > 0 && refs === 0) socket.unref();
  }

  class Timeout {
    constructor(callback, after, args, repeats) {
      if (typeof callback !== 'function') {
        const error = new TypeError('The "callback" argument must be of type function.');
        error.code = 'ERR_INVALID_ARG_TYPE';
        throw error;
      }
      after = Number(after);
      // What Node.js does with what is no time.
      this._ms = after >= 1 && after <= 2 ** 31 - 1 ? Math.trunc(after) : 1;
      this._callback = callback;
      this._args = args;
      this._repeats = repeats;
      this._isRef = true;
      this._id = ++last;
      if (!socket) listen();
      this._ask();
    }
    _ask() {
      if (!pending.has(this._id)) {
        pending.set(this._id, this);
        if (this._isRef) keep(1);
      }
      fs.writeSync(asks, `timer ${this._id} ${nowNs() + BigInt(this._ms) * 1_000_000n}\n`);
    }
    _forget() {
      if (pending.delete(this._id)) {
        if (this._isRef) keep(-1);
        return true;
      }
      return false;
    }
    _fire() {
      if (this._repeats) this._ask();
      else this._forget();
      this._callback.apply(this, this._args);
    }
    refresh() {
      this._ask();
      return this;
    }
    close() {
      if (this._forget()) fs.writeSync(asks, `cancel ${this._id}\n`);
      return this;
    }
    ref() {
      if (!this._isRef && pending.has(this._id)) keep(1);
      this._isRef = true;
      return this;
    }
    unref() {
      if (this._isRef && pending.has(this._id)) keep(-1);
      this._isRef = false;
      return this;
    }
    hasRef() {
      return this._isRef;
    }
    [Symbol.toPrimitive]() {
      return this._id;
    }
    [Symbol.dispose ?? Symbol.for('dispose')]() {
      this.close();
    }
  }

  function setTimeout(callback, after, ...args) {
    return new Timeout(callback, after, args, false);
  }
  function setInterval(callback, after, ...args) {
    return new Timeout(callback, after, args, true);
  }
  function clear(timer) {
    if (timer instanceof Timeout) timer.close();
    else if (typeof timer === 'number' || typeof timer === 'string') pending.get(Number(timer))?.close();
  }

  function aborted(signal) {
    const error = new Error('The operation was aborted', { cause: signal.reason });
    error.name = 'AbortError';
    error.code = 'ABORT_ERR';
    return error;
  }
  function wait(after, value, options = {}) {
    const { signal, ref = true } = options ?? {};
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(aborted(signal));
      const stop = () => {
        clear(timer);
        reject(aborted(signal));
      };
      const timer = setTimeout(() => {
        signal?.removeEventListener('abort', stop);
        resolve(value);
      }, after);
      if (!ref) timer.unref();
      signal?.addEventListener('abort', stop, { once: true });
    });
  }
  async function* ticks(after, value, options = {}) {
    const { signal, ref = true } = options ?? {};
    if (signal?.aborted) throw aborted(signal);
    let due = 0;
    let wake = null;
    const ring = () => {
      const call = wake;
      wake = null;
      call?.();
    };
    const timer = setInterval(() => {
      due += 1;
      ring();
    }, after);
    if (!ref) timer.unref();
    signal?.addEventListener('abort', ring, { once: true });
    try {
      while (true) {
        if (due === 0 && !signal?.aborted) await new Promise((resolve) => (wake = resolve));
        for (; due > 0; due--) yield value;
        if (signal?.aborted) throw aborted(signal);
      }
    } finally {
      clear(timer);
      signal?.removeEventListener('abort', ring);
    }
  }
  Object.defineProperty(setTimeout, util.promisify.custom, { value: wait, enumerable: true });

  for (const place of [globalThis, timers]) {
    Object.assign(place, { setTimeout, setInterval, clearTimeout: clear, clearInterval: clear });
  }
  Object.assign(timersPromises, { setTimeout: wait, setInterval: ticks });
  if (timersPromises.scheduler) timersPromises.scheduler.wait = (after, options) => wait(after, undefined, options);
  AbortSignal.timeout = (after) => {
    const controller = new AbortController();
    const why = () => new DOMException('The operation was aborted due to timeout', 'TimeoutError');
    setTimeout(() => controller.abort(why()), after).unref();
    return controller.signal;
  };

  // ---- time ------------------------------------------------------------------------------------

  const RealDate = Date;
  RealDate.now = nowMs;
  globalThis.Date = new Proxy(RealDate, {
    construct: (target, args, made) => Reflect.construct(target, args.length ? args : [nowMs()], made),
    apply: () => new RealDate(nowMs()).toString(),
  });
  RealDate.prototype.constructor = globalThis.Date;

  const fixed = (value) => ({ value, configurable: true, writable: true });
  Object.defineProperty(performance, 'now', fixed(() => Number(sinceNs()) / 1e6));
  Object.defineProperty(performance, 'timeOrigin', fixed(Number(beganNs / 1000n) / 1000));

  process.hrtime = (before) => {
    const since = sinceNs();
    let [seconds, nanos] = [Number(since / 1_000_000_000n), Number(since % 1_000_000_000n)];
    if (before) {
      seconds -= before[0];
      nanos -= before[1];
      if (nanos < 0) [seconds, nanos] = [seconds - 1, nanos + 1e9];
    }
    return [seconds, nanos];
  };
  process.hrtime.bigint = sinceNs;
  process.uptime = () => Number(sinceNs()) / 1e9;

  // ---- what is random --------------------------------------------------------------------------

  // sfc32 (C. Doty-Humphrey). With the time of the start, a node that starts again does not repeat
  // itself.
  const seed = BigInt(process.env.NODE_SEED || '0') ^ (beganNs * 0x9e3779b97f4a7c15n);
  let a = Number(seed & 0xffffffffn) | 0;
  let b = Number((seed >> 32n) & 0xffffffffn) | 0;
  let c = Number(beganNs & 0xffffffffn) | 0;
  let counter = 1;
  function word() {
    const sum = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + sum) | 0;
    return sum >>> 0;
  }
  for (let i = 0; i < 16; i++) word();
  Math.random = () => ((word() >>> 5) * 67108864 + (word() >>> 6)) / 9007199254740992;

  function fill(view, offset = 0, size = undefined) {
    const scale = view.BYTES_PER_ELEMENT ?? 1;
    const bytes = ArrayBuffer.isView(view)
      ? new Uint8Array(view.buffer, view.byteOffset, view.byteLength)
      : new Uint8Array(view);
    const from = offset * scale;
    const to = size === undefined ? bytes.length : from + size * scale;
    for (let i = from; i < to; i++) bytes[i] = word() & 0xff;
    return view;
  }
  function later(callback, ...args) {
    setImmediate(() => callback(null, ...args));
  }
  crypto.randomBytes = crypto.pseudoRandomBytes = (size, callback) => {
    const bytes = fill(Buffer.alloc(size));
    return callback ? later(callback, bytes) : bytes;
  };
  crypto.randomFillSync = fill;
  crypto.randomFill = (view, ...rest) => {
    const callback = rest.pop();
    later(callback, fill(view, ...rest));
  };
  crypto.randomInt = (min, max, callback) => {
    if (max === undefined || typeof max === 'function') [min, max, callback] = [0, min, max];
    const value = min + Math.floor(Math.random() * (max - min));
    return callback ? later(callback, value) : value;
  };
  crypto.randomUUID = () => {
    const bytes = fill(Buffer.alloc(16));
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
  };
  const web = crypto.webcrypto;
  Object.defineProperty(web, 'getRandomValues', fixed((view) => fill(view)));
  Object.defineProperty(web, 'randomUUID', fixed(crypto.randomUUID));

  require('module').syncBuiltinESMExports();
}
