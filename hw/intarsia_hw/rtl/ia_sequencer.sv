// Starts and stops the machine: runs a program to its end, stops it at an error, and says what happened.
//
//   Idle   engines, queues and DMAs are in reset
//   Run    out of reset, until the program is done or something is wrong
//   Stop   DMAs finish what is in flight and begin nothing new
//   Settle in reset again; the counters reach their sums
`include "checks.svh"

module ia_sequencer #(
  parameter int unsigned AddressBits = 32,
  localparam int unsigned WordsBits = ia_registers_pkg::ProgramWordsBits
) (
  input  logic                     clk_i,
  input  logic                     rst_ni,
  // Commands
  input  logic                     start_i,
  input  logic                     soft_reset_i,
  input  logic                     interrupt_clear_i,
  input  logic                     config_matches_i,
  // The machine
  output logic                     core_rst_no,       // reset of everything that runs a program
  output logic                     clear_counters_o,
  output logic                     counting_o,        // a program runs
  output logic                     stop_o,
  input  logic                     program_done_i,
  input  logic                     dmas_idle_i,
  input  logic                     moved_i,           // something happened in this cycle
  input  logic [15:0]              queue_state_i,     // as in ERROR_STATE
  // Errors
  input  logic                     malformed_i,
  input  logic                     missing_end_i,
  input  logic [1:0]               malformed_queue_i, // of the malformed word
  input  logic [WordsBits-1:0]     word_index_i,
  input  logic [2:0]               axi_error_i,       // pulses: fetch, load, store
  input  logic [5:0]               axi_response_i,
  input  logic [3*AddressBits-1:0] axi_address_i,
  // Status
  output logic                     running_o,
  output logic                     done_o,
  output logic                     error_o,
  output logic                     interrupt_o,
  output logic [3:0]               error_cause_o,
  output logic [2:0]               error_queue_o,
  output logic [WordsBits-1:0]     error_word_o,
  output logic [15:0]              error_state_o,
  output logic [AddressBits-1:0]   error_address_o
);

  localparam int unsigned DeadlockBits = $clog2(ia_registers_pkg::DeadlockCycles);
  localparam logic [5:0] SettleCycles = 6'd40;  // more than the counters need
  localparam logic [5:0] QuietCycles = 6'd4;    // a burst that was just begun shows in this time

  typedef enum logic [1:0] {
    Idle,
    Run,
    Stop,
    Settle
  } state_e;

  state_e                  state_q;
  logic [5:0]              wait_q;      // cycles in Settle, or idle in Stop
  logic [DeadlockBits-1:0] quiet_q;     // cycles in which nothing moved
  logic                    deadlock_q;
  logic                    failed_q;    // this run ends with an error
  logic                    aborted_q;   // this run ends with nothing: a soft reset

  // ---- what is wrong, the first of several

  logic                     wrong, decode_error;
  ia_registers_pkg::cause_e cause;
  logic [2:0]               culprit;
  logic [AddressBits-1:0]   address;

  always_comb begin
    wrong   = 1'b1;
    culprit = ia_registers_pkg::Fetcher;
    cause   = ia_registers_pkg::CauseNone;
    address = '0;
    // The responses that are errors: 2 SLVERR, 3 DECERR.
    decode_error = axi_error_i[0] ? axi_response_i[0] : axi_error_i[1] ? axi_response_i[2] : axi_response_i[4];
    if (axi_error_i[0] || axi_error_i[1]) begin
      culprit = axi_error_i[0] ? ia_registers_pkg::Fetcher : 3'(ia_isa_pkg::QueueLoad);
      address = axi_error_i[0] ? axi_address_i[AddressBits-1:0] : axi_address_i[AddressBits+:AddressBits];
      cause   = decode_error ? ia_registers_pkg::CauseReadDecodeError : ia_registers_pkg::CauseReadSlaveError;
    end else if (axi_error_i[2]) begin
      culprit = 3'(ia_isa_pkg::QueueStore);
      address = axi_address_i[2*AddressBits+:AddressBits];
      cause   = decode_error ? ia_registers_pkg::CauseWriteDecodeError : ia_registers_pkg::CauseWriteSlaveError;
    end else if (malformed_i) begin
      culprit = 3'(malformed_queue_i);
      cause   = ia_registers_pkg::CauseMalformedWord;
    end else if (missing_end_i) begin
      cause = ia_registers_pkg::CauseMissingEnd;
    end else if (deadlock_q) begin
      cause = ia_registers_pkg::CauseDeadlock;
      // The first queue that waits for semaphores, or cannot signal.
      for (int q = 3; q >= 0; q--) begin
        if (queue_state_i[ia_registers_pkg::ErrorStateWaiting+q]
            || queue_state_i[ia_registers_pkg::ErrorStateBlocked+q]) culprit = 3'(q);
      end
    end else begin
      wrong = 1'b0;
    end
  end

  // ---- states

  logic starts;
  assign starts = state_q == Idle && start_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q     <= Idle;
      core_rst_no <= 1'b0;
    end else begin
      case (state_q)
        Idle: if (start_i && config_matches_i) state_q <= Run;
        Run: begin
          if (wrong || soft_reset_i) state_q <= Stop;
          else if (program_done_i) state_q <= Settle;
        end
        Stop: if (wait_q == QuietCycles) state_q <= Settle;
        default: if (wait_q == SettleCycles) state_q <= Idle;
      endcase
      core_rst_no <= state_q == Run || state_q == Stop;
    end
  end

  always_ff @(posedge clk_i) begin
    if (state_q == Settle || (state_q == Stop && dmas_idle_i && wait_q != QuietCycles)) wait_q <= wait_q + 6'd1;
    else wait_q <= '0;
  end

  always_ff @(posedge clk_i) begin
    if (state_q != Run || moved_i) begin
      quiet_q    <= '0;
      deadlock_q <= 1'b0;
    end else begin
      quiet_q <= quiet_q + DeadlockBits'(1);
      if (quiet_q == DeadlockBits'(ia_registers_pkg::DeadlockCycles - 1)) deadlock_q <= 1'b1;
    end
  end

  assign stop_o           = state_q == Stop;
  assign counting_o       = state_q == Run;
  assign running_o        = state_q != Idle;
  assign clear_counters_o = starts || !rst_ni;

  // ---- what came of it

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      done_o        <= 1'b0;
      error_o       <= 1'b0;
      interrupt_o   <= 1'b0;
      failed_q      <= 1'b0;
      aborted_q     <= 1'b0;
      error_cause_o <= ia_registers_pkg::CauseNone;
    end else begin
      if (interrupt_clear_i) interrupt_o <= 1'b0;
      if (soft_reset_i || starts) begin
        done_o        <= 1'b0;
        error_o       <= 1'b0;
        interrupt_o   <= 1'b0;
        failed_q      <= 1'b0;
        error_cause_o <= ia_registers_pkg::CauseNone;
        aborted_q     <= soft_reset_i;
      end
      if (starts && !config_matches_i) begin
        error_o       <= 1'b1;
        interrupt_o   <= 1'b1;
        error_cause_o <= ia_registers_pkg::CauseConfigMismatch;
      end
      if (state_q == Run && wrong && !soft_reset_i) begin
        failed_q      <= 1'b1;
        error_cause_o <= cause;
      end
      if (state_q == Settle && wait_q == SettleCycles && !aborted_q && !soft_reset_i) begin
        done_o      <= !failed_q;
        error_o     <= failed_q;
        interrupt_o <= 1'b1;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (starts || (state_q == Run && wrong)) begin
      error_queue_o   <= starts ? '0 : culprit;
      error_word_o    <= starts ? '0 : word_index_i;
      error_state_o   <= starts ? '0 : queue_state_i;
      error_address_o <= starts ? '0 : address;
    end
  end

  logic unused;
  assign unused = &{1'b0, axi_response_i};

  // A program that is done has idle DMAs too.
  `CHECK(ResetOnlyWhenNothingIsInFlight, $fell(core_rst_no) |-> $past(dmas_idle_i))

endmodule
