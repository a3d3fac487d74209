// What a LoadPatch reads: sizes in bytes, and the image rows between the first and the last that its windows touch.
//
// rows = (rows out - 1) * stride_y + kernel_height from -pad_top on, cut to the image. The two products are made bit by
// bit, since there is time: some 20 cycles from start_i to done_o.
`include "checks.svh"

module ia_patch_plan #(
  parameter int unsigned WordBits = 28  // of an address in DRAM, in words
) (
  input  logic                clk_i,
  input  logic                rst_ni,
  input  logic                start_i,
  output logic                done_o,          // while it is high all results stand
  // The instruction; stable from start_i to done_o
  input  logic [13:0]         height_i,
  input  logic [13:0]         width_i,
  input  logic [2:0]          channels_i,
  input  logic [11:0]         pitch_i,
  input  logic [5:0]          kernel_height_i,
  input  logic [5:0]          kernel_width_i,
  input  logic [3:0]          stride_y_i,
  input  logic [3:0]          stride_x_i,
  input  logic [13:0]         rows_i,
  input  logic signed [15:0]  pad_top_i,
  input  logic signed [15:0]  pad_left_i,
  input  logic [WordBits-1:0] image_i,         // first word of the image
  // Results
  output logic [15:0]         row_bytes_o,
  output logic [12:0]         row_words_o,
  output logic [7:0]          segment_bytes_o, // of a window's row
  output logic [5:0]          step_bytes_o,    // from a window to the next in its row
  output logic signed [18:0]  left_byte_o,     // where the first window begins in a row
  output logic [13:0]         first_o,         // image row
  output logic [13:0]         stop_o,          // image row behind the last
  output logic [WordBits-1:0] start_o          // first word of the first row
);

  typedef enum logic [2:0] {
    StateIdle, StateReach, StateEdges, StateCut, StateSkip, StateDone
  } state_e;
  state_e state_q;

  // One product at a time: sum += factor for each bit of the other factor.
  logic [25:0]        sum_q, factor_q;
  logic [11:0]        bits_q;
  logic signed [19:0] top, bottom_q;
  logic [13:0]        first_q, stop_q;

  assign top    = 20'sd0 - 20'(pad_top_i);
  assign done_o = state_q == StateDone;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q <= StateIdle;
    end else begin
      case (state_q)
        StateIdle: if (start_i) state_q <= StateReach;
        StateReach: if (bits_q == 0) state_q <= StateEdges;
        StateEdges: state_q <= StateCut;
        StateCut: state_q <= StateSkip;
        StateSkip: if (bits_q == 0) state_q <= StateDone;
        default: state_q <= StateIdle;
      endcase
    end
  end

  always_ff @(posedge clk_i) begin
    case (state_q)
      StateIdle: begin
        sum_q    <= '0;
        factor_q <= 26'(rows_i) - 26'd1;
        bits_q   <= 12'(stride_y_i);
      end
      StateEdges: begin
        // A window that begins above the image reads from row 0 on, one that begins below it reads nothing.
        bottom_q <= top + $signed(20'(sum_q)) + $signed(20'(kernel_height_i));
        first_q  <= top < 0 ? 14'd0 : top > $signed(20'(height_i)) ? height_i : top[13:0];
      end
      StateCut: begin
        stop_q   <= bottom_q > $signed(20'(height_i)) ? height_i :
                    bottom_q < $signed(20'(first_q)) ? first_q : bottom_q[13:0];
        sum_q    <= '0;
        factor_q <= 26'(first_q);
        bits_q   <= pitch_i;
      end
      default: begin
        if (bits_q[0]) sum_q <= sum_q + factor_q;
        factor_q <= factor_q << 1;
        bits_q   <= bits_q >> 1;
      end
    endcase
  end

  assign first_o = first_q;
  assign stop_o  = stop_q;
  assign start_o = image_i + WordBits'(sum_q);

  // Products with 1 to 4 channels are a sum of two at most.
  always_ff @(posedge clk_i) begin
    row_bytes_o <= (channels_i[0] ? 16'(width_i) : 16'd0) +
                   (channels_i[1] ? 16'(width_i) << 1 : channels_i[2] ? 16'(width_i) << 2 : 16'd0);
    segment_bytes_o <= (channels_i[0] ? 8'(kernel_width_i) : 8'd0) +
                       (channels_i[1] ? 8'(kernel_width_i) << 1 : channels_i[2] ? 8'(kernel_width_i) << 2 : 8'd0);
    step_bytes_o <= (channels_i[0] ? 6'(stride_x_i) : 6'd0) +
                    (channels_i[1] ? 6'(stride_x_i) << 1 : channels_i[2] ? 6'(stride_x_i) << 2 : 6'd0);
    left_byte_o <= -((channels_i[0] ? 19'(pad_left_i) : 19'sd0) +
                     (channels_i[1] ? 19'(pad_left_i) <<< 1 : channels_i[2] ? 19'(pad_left_i) <<< 2 : 19'sd0));
    row_words_o <= 13'((17'(row_bytes_o) + 17'd15) >> 4);
  end

endmodule
