# Ruby's clock, timers and random numbers from the simulator.
#
# Loaded by RUBYOPT=-r. Time stands still while the program runs, and goes on while it waits.
# Covered: Time.now, Process.clock_gettime, sleep, ConditionVariable#wait and Mutex#sleep,
# Thread#join and Queue#pop with a timeout, Timeout.timeout, rand, Random.rand, and SecureRandom.
# Not covered: IO.select with a timeout, and extensions that ask the kernel by themselves.
if ENV['NODE_CLOCK']
  module NodeShim
    FOLDER = ENV['NODE_CLOCK']
    NOW = File.open(File.join(FOLDER, 'now'), 'rb')
    ASKS = File.open(File.join(FOLDER, 'asks'), 'wb')
    ASKS.sync = true
    GUARD = Thread::Mutex.new
    PENDING = {}
    ORIGIN = 1_735_689_600_000_000_000

    def self.now_ns
      NOW.pread(8, 0).unpack1('Q<')
    end

    # Has the block called after so many seconds, in another thread.
    def self.ask(seconds, &call)
      id = GUARD.synchronize do
        @last = (@last || 0) + 1
        PENDING[@last] = call
        @pump ||= Thread.new { pump }
        @last
      end
      at = now_ns + [(seconds * 1_000_000_000).to_i, 0].max
      ASKS.syswrite("timer #{id} #{at}\n")
      id
    end

    def self.cancel(id)
      waits = GUARD.synchronize { PENDING.delete(id) }
      ASKS.syswrite("cancel #{id}\n") if waits
    end

    def self.pump
      File.open(File.join(FOLDER, 'wakes'), 'rb') do |wakes|
        while (line = wakes.gets)
          call = GUARD.synchronize { PENDING.delete(line.to_i) }
          call&.call
        end
      end
    end

    def self.sleep(seconds)
      before = now_ns
      queue = Thread::Queue.new
      ask(seconds) { queue << true }
      queue.pop
      ((now_ns - before) / 1e9).round
    end
  end
  NodeShim::ASKS.syswrite("hello ruby\n")

  class Time
    class << self
      alias node_shim_now now
      def now(**options)
        ns = NodeShim.now_ns
        at(ns / 1_000_000_000, ns % 1_000_000_000, :nsec, **options)
      end
    end
  end

  module Process
    class << self
      alias node_shim_clock_gettime clock_gettime
      def clock_gettime(clock, unit = :float_second)
        ns = case clock
             when CLOCK_REALTIME then NodeShim.now_ns
             when CLOCK_MONOTONIC then NodeShim.now_ns - NodeShim::ORIGIN
             else return node_shim_clock_gettime(clock, unit)
             end
        case unit
        when :nanosecond then ns
        when :microsecond then ns / 1_000
        when :millisecond then ns / 1_000_000
        when :second then ns / 1_000_000_000
        when :float_millisecond then ns / 1e6
        when :float_microsecond then ns / 1e3
        else ns / 1e9
        end
      end
    end
  end

  module Kernel
    alias node_shim_sleep sleep
    def sleep(seconds = nil)
      seconds.nil? ? node_shim_sleep : NodeShim.sleep(seconds)
    end
    module_function :sleep
  end

  class Thread::Mutex
    alias node_shim_sleep sleep
    def sleep(timeout = nil)
      return node_shim_sleep if timeout.nil?

      me = Thread.current
      over = false
      id = NodeShim.ask(timeout) { over = true; me.wakeup if me.alive? }
      node_shim_sleep
      NodeShim.cancel(id) unless over
      over ? nil : 0
    end
  end

  class Thread::ConditionVariable
    alias node_shim_wait wait
    def wait(mutex, timeout = nil)
      return node_shim_wait(mutex) if timeout.nil?

      over = false
      id = NodeShim.ask(timeout) { mutex.synchronize { over = true; broadcast } }
      node_shim_wait(mutex)
      NodeShim.cancel(id) unless over
      self
    end
  end

  class Thread
    alias node_shim_join join
    def join(limit = nil)
      return node_shim_join if limit.nil?

      done = Thread::Queue.new
      id = NodeShim.ask(limit) { done << nil }
      watcher = Thread.new { node_shim_join; done << self }
      ended = done.pop
      NodeShim.cancel(id)
      watcher.kill
      ended
    end
  end

  class Thread::Queue
    alias node_shim_pop pop
    def pop(non_block = false, timeout: nil)
      return node_shim_pop(non_block) if timeout.nil?

      until_ns = NodeShim.now_ns + (timeout * 1_000_000_000).to_i
      loop do
        return node_shim_pop(true) unless empty?
        left = until_ns - NodeShim.now_ns
        return nil if left <= 0

        NodeShim.sleep([left / 1e9, 0.01].min)
      end
    end
    alias shift pop
    alias deq pop
  end

  require 'timeout'
  module Timeout
    def timeout(seconds, error = nil, message = nil)
      return yield(seconds) if seconds.nil? || seconds.zero?

      me = Thread.current
      raised = error || Timeout::Error
      id = NodeShim.ask(seconds) { me.raise(raised, message || 'execution expired') }
      begin
        yield(seconds)
      ensure
        NodeShim.cancel(id)
      end
    end
    module_function :timeout
  end

  SEED = ENV.fetch('NODE_SEED', '0').to_i
  srand(SEED)
  class Random
    NODE_SHIM = new(::SEED ^ 0x5DEECE66D)
    class << self
      def urandom(size)
        NODE_SHIM.bytes(size)
      end
      alias node_shim_new_seed new_seed
      def new_seed
        NODE_SHIM.rand(1 << 64)
      end
    end
  end
  module NodeShimSecureRandom
    def bytes(size = nil)
      Random::NODE_SHIM.bytes(size || 16)
    end

    def gen_random(size)
      Random::NODE_SHIM.bytes(size)
    end
  end
  require 'securerandom'
  SecureRandom.singleton_class.prepend(NodeShimSecureRandom)
end
