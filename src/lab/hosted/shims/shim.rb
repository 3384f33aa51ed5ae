# Virtual time for a Ruby program: loaded before its own code (RUBYOPT=-r), it takes the time and
# the timers from the folder NODE_CLOCK, and what is random from NODE_SEED.
#
# Covered: sleep, Time, Process.clock_gettime, Timeout, ConditionVariable#wait, Mutex#sleep,
# Queue#pop(timeout:), Thread#join(limit), IO.select, rand, Random, SecureRandom. Not covered:
# IO#wait_readable, timeouts of sockets, and processes that are started or forked.

module NodeClock
  @folder = ENV["NODE_CLOCK"]
  @mutex = Thread::Mutex.new
  @waits = {}
  @last = 0
  @reader = nil
  @latest = 0

  class << self
    def start
      @asks = File.open("#{@folder}/asks", "wb")
      @asks.sync = true
      @now = File.open("#{@folder}/now", "rb")
      @asks.syswrite("hello ruby\n")
      @began = now_ns
      # With the time of the start: a node that starts again does not repeat itself.
      @random = Random.new(ENV["NODE_SEED"].to_i * (1 << 64) + @began)
      Kernel.srand(@random.rand(1 << 64))
    end

    attr_reader :random

    def now_ns
      @now.pread(8, 0).unpack1("Q<")
    end

    # A wall clock may be set back; this one may not.
    def monotonic_ns
      @latest = [@latest, now_ns - @began].max
      @latest + 1_000_000_000
    end

    def after(seconds)
      now_ns + [1, (seconds * 1_000_000_000).round].max
    end

    def ask(at_ns, &fire)
      @mutex.synchronize do
        @reader ||= Thread.new { listen }
        @last += 1
        @waits[@last] = fire
        @asks.syswrite("timer #{@last} #{at_ns}\n")
        @last
      end
    end

    def cancel(id)
      @mutex.synchronize { @asks.syswrite("cancel #{id}\n") if @waits.delete(id) }
    end

    # Wakes this thread then, whatever it sleeps in, unless the block is over before.
    def waking(seconds)
      thread = Thread.current
      id = ask(after(seconds)) { thread.wakeup if thread.alive? }
      begin
        yield
      ensure
        cancel(id)
      end
    end

    private

    def listen
      File.open("#{@folder}/wakes", "rb") do |wakes|
        while (line = wakes.gets)
          fire = @mutex.synchronize { @waits.delete(line.to_i) }
          fire&.call
        end
      end
    end
  end

  module Sleep
    def sleep(*args)
      seconds = args.first
      return super if seconds.nil? || !seconds.is_a?(Numeric) || seconds <= 0
      began = NodeClock.now_ns
      NodeClock.waking(seconds) { super() }
      ((NodeClock.now_ns - began) / 1e9).round
    end
    private :sleep
  end

  module PublicSleep
    include Sleep
    public :sleep
  end

  module MutexSleep
    def sleep(timeout = nil)
      return super if timeout.nil? || timeout <= 0
      began = NodeClock.now_ns
      NodeClock.waking(timeout) { super() }
      ((NodeClock.now_ns - began) / 1e9).round
    end
  end

  module Condition
    def wait(mutex, timeout = nil)
      return super(mutex) if timeout.nil?
      return super if timeout <= 0
      at = NodeClock.after(timeout)
      NodeClock.waking(timeout) { super(mutex) }
      NodeClock.now_ns < at ? self : nil
    end
  end

  module TimedQueue
    def pop(non_block = false, timeout: nil)
      return super(non_block) if timeout.nil?
      at = NodeClock.after(timeout)
      loop do
        begin
          return super(true)
        rescue ThreadError
          return nil if closed? || NodeClock.now_ns >= at
          (@node_waiters ||= []) << Thread.current
          left = (at - NodeClock.now_ns) / 1_000_000_000r
          NodeClock.waking(left) { Thread.stop }
          @node_waiters.delete(Thread.current)
        end
      end
    end
    alias shift pop
    alias deq pop

    def push(*args, **rest)
      super
      waiter = @node_waiters&.shift
      waiter.wakeup if waiter&.alive?
      self
    end
    alias << push
    alias enq push
  end

  module Join
    def join(limit = nil)
      return super() if limit.nil?
      return super if limit <= 0 || !alive?
      target, me, ended = self, Thread.current, false
      helper = Thread.new do
        target.join rescue nil
        ended = true
        me.wakeup
      end
      helper.report_on_exception = false
      at = NodeClock.after(limit)
      NodeClock.waking(limit) { Thread.stop until ended || NodeClock.now_ns >= at }
      helper.kill
      alive? ? nil : super()
    end
  end

  module Select
    def select(reads, writes = nil, errors = nil, timeout = nil)
      return super if timeout.nil? || timeout <= 0
      wake, ring = IO.pipe
      id = NodeClock.ask(NodeClock.after(timeout)) { ring.syswrite("!") rescue nil }
      begin
        found = super([*reads, wake], writes, errors)
        found[0].delete(wake)
        found.all?(&:empty?) ? nil : found
      ensure
        NodeClock.cancel(id)
        wake.close
        ring.close
      end
    end
  end

  module Now
    def now(**options)
      at(0, NodeClock.now_ns, :nsec, **options)
    end

    def new(*args, **options)
      args.empty? ? now(**options) : super
    end
  end

  module Clocks
    UNITS = { nanosecond: 1, microsecond: 1_000, millisecond: 1_000_000, second: 1_000_000_000 }.freeze

    def clock_gettime(clock, unit = :float_second)
      ns =
        case clock
        when Process::CLOCK_REALTIME then NodeClock.now_ns
        when Process::CLOCK_MONOTONIC then NodeClock.monotonic_ns
        else return super
        end
      return ns / UNITS[unit] if UNITS.key?(unit)
      case unit
      when :float_second, nil then ns / 1e9
      when :float_millisecond then ns / 1e6
      when :float_microsecond then ns / 1e3
      else raise ArgumentError, "unexpected unit: #{unit}"
      end
    end
  end

  module Seeds
    def new(*seed)
      seed.empty? ? super(NodeClock.random.rand(1 << 64)) : super
    end

    def new_seed
      NodeClock.random.rand(1 << 128)
    end

    def urandom(size)
      NodeClock.random.bytes(size)
    end

    def seed
      super
    end
  end

  module Reseed
    def srand(*seed)
      seed.empty? ? super(NodeClock.random.rand(1 << 64)) : super
    end
    private :srand
  end

  if @folder && !@folder.empty?
    start
    Object.prepend(Sleep)
    Kernel.singleton_class.prepend(PublicSleep)
    Thread::Mutex.prepend(MutexSleep)
    Thread::ConditionVariable.prepend(Condition)
    Thread::Queue.prepend(TimedQueue) if RUBY_VERSION >= "3.2"
    Thread.prepend(Join)
    IO.singleton_class.prepend(Select)
    Time.singleton_class.prepend(Now)
    Process.singleton_class.prepend(Clocks)
    Random.singleton_class.prepend(Seeds)
    Object.prepend(Reseed)
  end
end
