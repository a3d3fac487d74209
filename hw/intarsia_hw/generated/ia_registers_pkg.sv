// Generated from overlay/machine/registers.py by `python -m intarsia_backends.overlay.machine.generated hw/intarsia_hw/generated`. Do not edit.
// A design need not use everything that a package offers.
// verilator lint_off UNUSEDPARAM
package ia_registers_pkg;
  localparam int unsigned AddressBits = 12;
  localparam logic [31:0] Identification = 32'h41544e49;
  localparam logic [31:0] Version = 32'd1;
  localparam int unsigned DeadlockCycles = 1024;
  localparam int unsigned ProgramWordsBits = 24;
  localparam int unsigned Queues = 4;
  localparam logic [2:0] Fetcher = 3'd4;

  // Counters: 0 counts cycles, CounterKinds * (1 + queue) + kind what a queue does.
  localparam int unsigned CounterKinds = 4;
  localparam int unsigned Counters = 20;
  localparam int unsigned CounterBusy = 0;
  localparam int unsigned CounterWaitSemaphore = 1;
  localparam int unsigned CounterWaitMemory = 2;
  localparam int unsigned CounterWords = 3;

  // Byte addresses; the counters stand from RegCounters on, 8 bytes each.
  localparam logic [11:0] RegIdentification = 12'h000;
  localparam logic [11:0] RegVersion = 12'h004;
  localparam logic [11:0] RegConfigHash = 12'h008;
  localparam logic [11:0] RegConfigHashHigh = 12'h00c;
  localparam logic [11:0] RegControl = 12'h010;
  localparam logic [11:0] RegStatus = 12'h014;
  localparam logic [11:0] RegExpectedHash = 12'h018;
  localparam logic [11:0] RegExpectedHashHigh = 12'h01c;
  localparam logic [11:0] RegProgramBase = 12'h020;
  localparam logic [11:0] RegProgramBaseHigh = 12'h024;
  localparam logic [11:0] RegProgramWords = 12'h028;
  localparam logic [11:0] RegSegmentConstants = 12'h030;
  localparam logic [11:0] RegSegmentConstantsHigh = 12'h034;
  localparam logic [11:0] RegSegmentArena = 12'h038;
  localparam logic [11:0] RegSegmentArenaHigh = 12'h03c;
  localparam logic [11:0] RegSegmentInputs = 12'h040;
  localparam logic [11:0] RegSegmentInputsHigh = 12'h044;
  localparam logic [11:0] RegSegmentOutputs = 12'h048;
  localparam logic [11:0] RegSegmentOutputsHigh = 12'h04c;
  localparam logic [11:0] RegErrorCause = 12'h050;
  localparam logic [11:0] RegErrorQueue = 12'h054;
  localparam logic [11:0] RegErrorWord = 12'h058;
  localparam logic [11:0] RegErrorState = 12'h05c;
  localparam logic [11:0] RegErrorAddress = 12'h060;
  localparam logic [11:0] RegErrorAddressHigh = 12'h064;
  localparam logic [11:0] RegCounters = 12'h100;

  localparam int unsigned ControlStart = 0;
  localparam int unsigned ControlSoftReset = 1;
  localparam int unsigned ControlInterruptEnable = 2;
  localparam int unsigned ControlInterruptClear = 3;
  localparam int unsigned StatusIdle = 0;
  localparam int unsigned StatusRunning = 1;
  localparam int unsigned StatusDone = 2;
  localparam int unsigned StatusError = 3;
  localparam int unsigned StatusInterrupt = 4;
  localparam int unsigned ErrorStateWaiting = 0;
  localparam int unsigned ErrorStateBlocked = 4;
  localparam int unsigned ErrorStateBusy = 8;
  localparam int unsigned ErrorStateFull = 12;

  typedef enum logic [3:0] {
    CauseNone = 4'd0,
    CauseConfigMismatch = 4'd1,
    CauseMalformedWord = 4'd2,
    CauseMissingEnd = 4'd3,
    CauseReadSlaveError = 4'd4,
    CauseReadDecodeError = 4'd5,
    CauseWriteSlaveError = 4'd6,
    CauseWriteDecodeError = 4'd7,
    CauseDeadlock = 4'd8
  } cause_e;

endpackage
// verilator lint_on UNUSEDPARAM
