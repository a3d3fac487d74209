// Generated from overlay/machine/isa by `python -m intarsia_backends.overlay.machine.generated hw/intarsia_hw/generated`. Do not edit.
// A design need not use everything that a package offers.
// verilator lint_off UNUSEDPARAM
package ia_isa_pkg;
  localparam int unsigned WordBits = 128;
  localparam int unsigned OpcodeBits = 6;
  localparam int unsigned Semaphores = 16;
  localparam int unsigned TagBits = 10;
  localparam int unsigned MultiplierBits = 21;
  localparam int unsigned Lanes = 16;
  localparam int unsigned WeightRowBytes = 64;
  localparam int unsigned ParameterGroupBytes = 128;
  localparam int unsigned TableBytes = 256;

  typedef enum logic [5:0] {
    OpLoadShape = 6'd1,
    OpLoad = 6'd2,
    OpLoadPatchShape = 6'd3,
    OpLoadPatchTarget = 6'd4,
    OpLoadPatch = 6'd5,
    OpLoadConstants = 6'd6,
    OpConvSource = 6'd17,
    OpConvWindow = 6'd18,
    OpConvTarget = 6'd19,
    OpConvResidual = 6'd20,
    OpConvAdd = 6'd21,
    OpConv = 6'd22,
    OpVecSource = 6'd33,
    OpVecSecond = 6'd34,
    OpVecTarget = 6'd35,
    OpVecWindow = 6'd36,
    OpVecScale = 6'd37,
    OpVec = 6'd38,
    OpStoreShape = 6'd49,
    OpStore = 6'd50,
    OpEnd = 6'd63
  } opcode_e;

  typedef enum logic [1:0] {
    QueueLoad = 2'd0,
    QueueMac = 2'd1,
    QueueVec = 2'd2,
    QueueStore = 2'd3
  } queue_e;

  typedef enum logic [1:0] {
    SegmentConstants = 2'd0,
    SegmentArena = 2'd1,
    SegmentInputs = 2'd2,
    SegmentOutputs = 2'd3
  } segment_e;

  typedef enum logic [1:0] {
    MemoryWeights = 2'd0,
    MemoryParameters = 2'd1,
    MemoryTables = 2'd2
  } memory_e;

  typedef enum logic [3:0] {
    VecCopy = 4'd0,
    VecAdd = 4'd1,
    VecMultiply = 4'd2,
    VecMaximum = 4'd3,
    VecSum = 4'd4,
    VecLookup = 4'd5,
    VecFill = 4'd6
  } vec_operation_e;

  // Setup for Load: what is copied, and the pitches on both sides, in words of 16 bytes.
  typedef struct packed {
    logic [11:0] unused;
    logic [25:0] dram_block_pitch;
    logic [15:0] dram_row_pitch;
    logic [15:0] block_pitch;
    logic [13:0] row_pitch;
    logic [13:0] columns;
    logic [13:0] rows;
    logic [9:0] blocks;
    opcode_e opcode;
  } load_shape_t;

  // Copy words from DRAM to ACT.
  typedef struct packed {
    logic [32:0] unused;
    logic [0:0] upsample;
    logic [15:0] base;
    logic [27:0] offset;
    logic [1:0] segment;
    logic [9:0] tag;
    logic [15:0] signal;
    logic [15:0] wait_;
    opcode_e opcode;
  } load_t;

  // Setup for LoadPatch: an image in DRAM in the form "pixels", and the window that patches are cut with.
  typedef struct packed {
    logic [50:0] unused;
    logic signed [7:0] fill;
    logic [3:0] stride_x;
    logic [3:0] stride_y;
    logic [5:0] kernel_width;
    logic [5:0] kernel_height;
    logic [11:0] pitch;
    logic [2:0] channels;
    logic [13:0] width;
    logic [13:0] height;
    opcode_e opcode;
  } load_patch_shape_t;

  // Setup for LoadPatch: the rectangle of patches, and where they go.
  typedef struct packed {
    logic [31:0] unused;
    logic signed [15:0] pad_left;
    logic signed [15:0] pad_top;
    logic [15:0] block_pitch;
    logic [13:0] row_pitch;
    logic [13:0] columns;
    logic [13:0] rows;
    opcode_e opcode;
  } load_patch_target_t;

  // Cut an image into patches (im2col): kernel_height * kernel_width * channels bytes in a row for each output pixel.
  typedef struct packed {
    logic [33:0] unused;
    logic [15:0] base;
    logic [27:0] offset;
    logic [1:0] segment;
    logic [9:0] tag;
    logic [15:0] signal;
    logic [15:0] wait_;
    opcode_e opcode;
  } load_patch_t;

  // Copy `count` entries from DRAM[segment][offset] on to a constant memory, from entry `at` on.
  typedef struct packed {
    logic [15:0] unused;
    logic [15:0] count;
    logic [15:0] at;
    logic [27:0] offset;
    logic [1:0] segment;
    logic [1:0] memory;
    logic [9:0] tag;
    logic [15:0] signal;
    logic [15:0] wait_;
    opcode_e opcode;
  } load_constants_t;

  // Setup for Conv: the input in ACT.
  typedef struct packed {
    logic [15:0] unused;
    logic signed [7:0] fill;
    logic signed [11:0] pad_left;
    logic signed [11:0] pad_top;
    logic [13:0] width;
    logic [13:0] height;
    logic [15:0] block_pitch;
    logic [13:0] row_pitch;
    logic [15:0] base;
    opcode_e opcode;
  } conv_source_t;

  // Setup for Conv: kernel, strides, dilations, and how much is computed.
  typedef struct packed {
    logic [37:0] unused;
    logic [13:0] columns;
    logic [13:0] rows;
    logic [11:0] output_blocks;
    logic [11:0] input_blocks;
    logic [5:0] dilation_x;
    logic [5:0] dilation_y;
    logic [3:0] stride_x;
    logic [3:0] stride_y;
    logic [5:0] kernel_width;
    logic [5:0] kernel_height;
    opcode_e opcode;
  } conv_window_t;

  // Setup for Conv: the output in ACT, and the end of the epilogue's first step.
  typedef struct packed {
    logic [51:0] unused;
    logic signed [7:0] clamp_max;
    logic signed [7:0] clamp_min;
    logic signed [7:0] zero_point;
    logic [15:0] block_pitch;
    logic [13:0] row_pitch;
    logic [15:0] base;
    opcode_e opcode;
  } conv_target_t;

  // Setup for Conv with residual = 1: the second operand in ACT, of the output's shape.
  typedef struct packed {
    logic [75:0] unused;
    logic [15:0] block_pitch;
    logic [13:0] row_pitch;
    logic [15:0] base;
    opcode_e opcode;
  } conv_residual_t;

  // Setup for Conv with residual = 1: the epilogue's second step, with v from the first and r from ConvResidual:
  typedef struct packed {
    logic [33:0] unused;
    logic signed [7:0] clamp_max;
    logic signed [7:0] clamp_min;
    logic signed [7:0] output_zero_point;
    logic [5:0] shift;
    logic [20:0] residual_multiplier;
    logic signed [7:0] residual_zero_point;
    logic [20:0] multiplier;
    logic signed [7:0] zero_point;
    opcode_e opcode;
  } conv_add_t;

  // Convolve a rectangle of pixels for `output_blocks` blocks of 16 output channels.
  typedef struct packed {
    logic [30:0] unused;
    logic [15:0] skip_row;
    logic [0:0] skip;
    logic [0:0] residual;
    logic [0:0] finish;
    logic [0:0] start;
    logic [0:0] depthwise;
    logic [11:0] parameter_group;
    logic [15:0] weight_row;
    logic [9:0] tag;
    logic [15:0] signal;
    logic [15:0] wait_;
    opcode_e opcode;
  } conv_t;

  // Setup for Vec: the (first) operand in ACT; fields as in ConvSource.
  typedef struct packed {
    logic [15:0] unused;
    logic signed [7:0] fill;
    logic signed [11:0] pad_left;
    logic signed [11:0] pad_top;
    logic [13:0] width;
    logic [13:0] height;
    logic [15:0] block_pitch;
    logic [13:0] row_pitch;
    logic [15:0] base;
    opcode_e opcode;
  } vec_source_t;

  // Setup for Vec ADD and MULTIPLY: the second operand in ACT, read at (b, y, x) itself.
  typedef struct packed {
    logic [74:0] unused;
    logic [0:0] column_pitch;
    logic [15:0] block_pitch;
    logic [13:0] row_pitch;
    logic [15:0] base;
    opcode_e opcode;
  } vec_second_t;

  // Setup for Vec: the output in ACT, and how much is computed.
  typedef struct packed {
    logic [35:0] unused;
    logic [13:0] columns;
    logic [13:0] rows;
    logic [11:0] blocks;
    logic [15:0] block_pitch;
    logic [13:0] row_pitch;
    logic [15:0] base;
    opcode_e opcode;
  } vec_target_t;

  // Setup for Vec MAXIMUM and SUM: the pooling window. All other operations read (y, x) itself.
  typedef struct packed {
    logic [81:0] unused;
    logic [7:0] stride_x;
    logic [7:0] stride_y;
    logic [11:0] kernel_width;
    logic [11:0] kernel_height;
    opcode_e opcode;
  } vec_window_t;

  // Setup for Vec ADD, MULTIPLY and SUM: zero points, multipliers, shift, clamp.
  typedef struct packed {
    logic [33:0] unused;
    logic signed [7:0] clamp_max;
    logic signed [7:0] clamp_min;
    logic signed [7:0] output_zero_point;
    logic [5:0] shift;
    logic [20:0] second_multiplier;
    logic signed [7:0] second_zero_point;
    logic [20:0] multiplier;
    logic signed [7:0] zero_point;
    opcode_e opcode;
  } vec_scale_t;

  // An operation on words, 16 lanes a cycle.
  typedef struct packed {
    logic [55:0] unused;
    logic [4:0] lane_count;
    logic [3:0] lane_to;
    logic [3:0] lane_from;
    logic [0:0] finish;
    logic [0:0] start;
    logic [3:0] table_;
    logic [0:0] upsample;
    logic [3:0] operation;
    logic [9:0] tag;
    logic [15:0] signal;
    logic [15:0] wait_;
    opcode_e opcode;
  } vec_t;

  // Setup for Store: what is copied, and the pitches on both sides, in words of 16 bytes.
  typedef struct packed {
    logic [11:0] unused;
    logic [25:0] dram_block_pitch;
    logic [15:0] dram_row_pitch;
    logic [15:0] block_pitch;
    logic [13:0] row_pitch;
    logic [13:0] columns;
    logic [13:0] rows;
    logic [9:0] blocks;
    opcode_e opcode;
  } store_shape_t;

  // Copy words from ACT to DRAM.
  typedef struct packed {
    logic [33:0] unused;
    logic [15:0] base;
    logic [27:0] offset;
    logic [1:0] segment;
    logic [9:0] tag;
    logic [15:0] signal;
    logic [15:0] wait_;
    opcode_e opcode;
  } store_t;

  // The last word of a program. The fetcher stops; the program is done when every queue is idle and empty.
  typedef struct packed {
    logic [79:0] unused;
    logic [9:0] tag;
    logic [15:0] signal;
    logic [15:0] wait_;
    opcode_e opcode;
  } end_t;

  function automatic logic is_run(input logic [5:0] opcode);
    case (opcode)
      6'd2, 6'd5, 6'd6, 6'd22, 6'd38, 6'd50, 6'd63: is_run = 1'b1;
      default: is_run = 1'b0;
    endcase
  endfunction

  // Whether a word is malformed whatever stands before it: opcode, bits above its fields, limits of fields.
  function automatic logic is_malformed(input logic [127:0] word);
    case (word[5:0])
      6'd1:  // LoadShape
        is_malformed = |word[127:116]
            || word[15:6] == 10'd0
            || word[29:16] == 14'd0
            || word[43:30] == 14'd0;
      6'd2:  // Load
        is_malformed = |word[127:95];
      6'd3:  // LoadPatchShape
        is_malformed = |word[127:77]
            || word[19:6] == 14'd0
            || word[33:20] == 14'd0
            || word[36:34] == 3'd0
            || word[36:34] > 3'd4
            || word[54:49] == 6'd0
            || word[60:55] == 6'd0
            || word[64:61] == 4'd0
            || word[68:65] == 4'd0;
      6'd4:  // LoadPatchTarget
        is_malformed = |word[127:96]
            || word[19:6] == 14'd0
            || word[33:20] == 14'd0;
      6'd5:  // LoadPatch
        is_malformed = |word[127:94];
      6'd6:  // LoadConstants
        is_malformed = |word[127:112]
            || word[49:48] > 2'd2
            || word[111:96] == 16'd0;
      6'd17:  // ConvSource
        is_malformed = |word[127:112];
      6'd18:  // ConvWindow
        is_malformed = |word[127:90]
            || word[11:6] == 6'd0
            || word[17:12] == 6'd0
            || word[21:18] == 4'd0
            || word[25:22] == 4'd0
            || word[31:26] == 6'd0
            || word[37:32] == 6'd0
            || word[49:38] == 12'd0
            || word[61:50] == 12'd0
            || word[75:62] == 14'd0
            || word[89:76] == 14'd0;
      6'd19:  // ConvTarget
        is_malformed = |word[127:76];
      6'd20:  // ConvResidual
        is_malformed = |word[127:52];
      6'd21:  // ConvAdd
        is_malformed = |word[127:94];
      6'd22:  // Conv
        is_malformed = |word[127:97]
            || word[80:80] > 1'd0
            || word[96:81] > 16'd0;
      6'd33:  // VecSource
        is_malformed = |word[127:112];
      6'd34:  // VecSecond
        is_malformed = |word[127:53];
      6'd35:  // VecTarget
        is_malformed = |word[127:92]
            || word[63:52] == 12'd0
            || word[77:64] == 14'd0
            || word[91:78] == 14'd0;
      6'd36:  // VecWindow
        is_malformed = |word[127:46]
            || word[17:6] == 12'd0
            || word[29:18] == 12'd0
            || word[37:30] == 8'd0
            || word[45:38] == 8'd0;
      6'd37:  // VecScale
        is_malformed = |word[127:94];
      6'd38:  // Vec
        is_malformed = |word[127:72]
            || word[51:48] > 4'd6;
      6'd49:  // StoreShape
        is_malformed = |word[127:116]
            || word[15:6] == 10'd0
            || word[29:16] == 14'd0
            || word[43:30] == 14'd0;
      6'd50:  // Store
        is_malformed = |word[127:94];
      6'd63:  // End
        is_malformed = |word[127:48];
      default:
        is_malformed = 1'b1;
    endcase
  endfunction

  // Setup words that hold counts have a bit each: those that read them stand behind them.
  localparam int unsigned CountedSetups = 7;

  // The bit of a setup word; none for other words.
  function automatic logic [6:0] counted_setup(input logic [5:0] opcode);
    case (opcode)
      6'd1: counted_setup = 7'b0000001;  // LoadShape
      6'd3: counted_setup = 7'b0000010;  // LoadPatchShape
      6'd4: counted_setup = 7'b0000100;  // LoadPatchTarget
      6'd18: counted_setup = 7'b0001000;  // ConvWindow
      6'd35: counted_setup = 7'b0010000;  // VecTarget
      6'd36: counted_setup = 7'b0100000;  // VecWindow
      6'd49: counted_setup = 7'b1000000;  // StoreShape
      default: counted_setup = 7'd0;
    endcase
  endfunction

  // The bits of those that must stand before a word.
  // verilator lint_off UNUSEDSIGNAL
  function automatic logic [6:0] needed_setups(input logic [127:0] word);
    case (word[5:0])
      6'd2:  // Load
        needed_setups = 7'b0000001;
      6'd5:  // LoadPatch
        needed_setups = 7'b0000010
            | 7'b0000100;
      6'd22:  // Conv
        needed_setups = 7'b0001000;
      6'd38:  // Vec
        needed_setups = 7'b0010000
            | (word[51:48] == 4'd3 || word[51:48] == 4'd4 ? 7'b0100000 : 7'd0);
      6'd50:  // Store
        needed_setups = 7'b1000000;
      default: needed_setups = 7'd0;
    endcase
  endfunction
  // verilator lint_on UNUSEDSIGNAL

endpackage
// verilator lint_on UNUSEDPARAM
