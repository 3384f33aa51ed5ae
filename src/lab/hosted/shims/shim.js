// Node.js' clock, timers and random numbers from the simulator.
//
// Loaded by NODE_OPTIONS=--require. Time stands still while the program runs, and goes on while it
// waits. Covered: setTimeout, setInterval, timers, timers/promises, util.promisify(setTimeout),
// Date, performance.now, process.hrtime, Math.random, crypto.randomBytes, randomUUID, randomInt
// and getRandomValues. Not covered: worker threads, timeouts of sockets, AbortSignal.timeout.
'use strict'
const fs = require('fs')
const folder = process.env.NODE_CLOCK
if (folder) {
  const net = require('net')
  const util = require('util')
  const timers = require('timers')
  const timersPromises = require('timers/promises')
  const crypto = require('crypto')
  const nowFd = fs.openSync(folder + '/now', 'r')
  const asksFd = fs.openSync(folder + '/asks', 'w')
  const wakesFd = fs.openSync(folder + '/wakes', fs.constants.O_RDONLY | fs.constants.O_NONBLOCK)
  const origin = 1735689600000000000n
  const buffer = Buffer.alloc(8)
  const ask = line => fs.writeSync(asksFd, line + '\n')
  const wallNs = () => {
    fs.readSync(nowFd, buffer, 0, 8, 0)
    return buffer.readBigUInt64LE(0)
  }
  const wallMs = () => Number(wallNs() / 1000000n)
  ask('hello node')

  const pending = new Map()
  let last = 0
  const wakes = new net.Socket({ fd: wakesFd, readable: true, writable: false })
  wakes.unref()
  // The process lives as long as a timer that it wants is pending.
  const hold = () => {
    for (const timer of pending.values()) if (timer.isRef) return wakes.ref()
    wakes.unref()
  }
  let rest = ''
  wakes.on('data', data => {
    const lines = (rest + data).split('\n')
    rest = lines.pop()
    for (const line of lines) {
      const timer = pending.get(Number(line))
      if (timer) timer.fire()
    }
  })

  class Timeout {
    constructor (call, ms, args, repeats) {
      if (typeof call !== 'function') {
        const error = new TypeError('The "callback" argument must be of type function.')
        error.code = 'ERR_INVALID_ARG_TYPE'
        throw error
      }
      ms = Number(ms)
      this.ms = ms >= 1 && ms <= 2147483647 ? Math.trunc(ms) : 1
      this.call = call
      this.args = args
      this.repeats = repeats
      this.isRef = true
      this.id = ++last
      this.start()
    }

    start () {
      pending.set(this.id, this)
      ask(`timer ${this.id} ${wallNs() + BigInt(this.ms) * 1000000n}`)
      hold()
    }

    fire () {
      if (this.repeats) this.start()
      else pending.delete(this.id)
      hold()
      this.call.apply(this, this.args)
    }

    stop () {
      if (pending.delete(this.id)) ask(`cancel ${this.id}`)
      hold()
    }

    ref () { this.isRef = true; hold(); return this }
    unref () { this.isRef = false; hold(); return this }
    hasRef () { return this.isRef }
    refresh () { this.start(); return this }
    close () { this.stop(); return this }
    [Symbol.toPrimitive] () { return this.id }
    [Symbol.dispose ?? Symbol('dispose')] () { this.stop() }
  }

  const set = {
    setTimeout: (call, ms, ...args) => new Timeout(call, ms, args, false),
    setInterval: (call, ms, ...args) => new Timeout(call, ms, args, true)
  }
  const clear = timer => {
    if (timer instanceof Timeout) return timer.stop()
    const known = pending.get(Number(timer))
    if (known) known.stop()
  }
  const later = (ms, value, options = {}) => new Promise((resolve, reject) => {
    const { signal, ref = true } = options
    if (signal?.aborted) return reject(signal.reason)
    const timer = set.setTimeout(() => resolve(value), ms)
    if (!ref) timer.unref()
    signal?.addEventListener('abort', () => { timer.stop(); reject(signal.reason) })
  })
  set.setTimeout[util.promisify.custom] = later
  for (const where of [globalThis, timers]) {
    Object.assign(where, set, { clearTimeout: clear, clearInterval: clear })
  }
  timersPromises.setTimeout = later
  timersPromises.setInterval = async function * (ms, value, options) {
    while (true) yield await later(ms, value, options)
  }
  timersPromises.scheduler.wait = (ms, options) => later(ms, undefined, options)

  const RealDate = Date
  class VirtualDate extends RealDate {
    constructor (...args) {
      if (args.length === 0) super(wallMs())
      else super(...args)
    }

    static now () { return wallMs() }
  }
  globalThis.Date = new Proxy(VirtualDate, {
    apply: () => new VirtualDate().toString()
  })
  const monoNs = () => wallNs() - origin
  performance.now = () => Number(monoNs()) / 1e6
  const hrtime = before => {
    const ns = monoNs()
    let [s, n] = [Number(ns / 1000000000n), Number(ns % 1000000000n)]
    if (before) {
      s -= before[0]
      n -= before[1]
      if (n < 0) { s -= 1; n += 1e9 }
    }
    return [s, n]
  }
  hrtime.bigint = monoNs
  process.hrtime = hrtime
  process.uptime = () => Number(monoNs()) / 1e9

  // Mulberry32, which is small, and random enough for programs that draw delays.
  let state = Number(BigInt(process.env.NODE_SEED || '0') & 0xffffffffn)
  const word = () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return (t ^ (t >>> 14)) >>> 0
  }
  Math.random = () => (word() * 2097152 + (word() >>> 11)) / 9007199254740992
  const fill = bytes => {
    for (let at = 0; at < bytes.length; at++) bytes[at] = word() & 0xff
    return bytes
  }
  crypto.randomBytes = (size, call) => {
    const bytes = fill(Buffer.alloc(size))
    return call ? void setImmediate(call, null, bytes) : bytes
  }
  crypto.randomUUID = () => {
    const bytes = fill(Buffer.alloc(16))
    bytes[6] = (bytes[6] & 0x0f) | 0x40
    bytes[8] = (bytes[8] & 0x3f) | 0x80
    return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
  }
  crypto.randomInt = (low, high, call) => {
    if (typeof high !== 'number') [low, high, call] = [0, low, high]
    const drawn = low + Math.floor(Math.random() * (high - low))
    return call ? void setImmediate(call, null, drawn) : drawn
  }
  const getRandomValues = array => {
    fill(new Uint8Array(array.buffer, array.byteOffset, array.byteLength))
    return array
  }
  for (const where of [crypto, globalThis.crypto, crypto.webcrypto]) {
    try {
      where.getRandomValues = getRandomValues
      where.randomUUID = crypto.randomUUID
    } catch {}
  }
}
