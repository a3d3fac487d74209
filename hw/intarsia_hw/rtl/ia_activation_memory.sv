// Activation memory: ActBanks banks of BankWords words of 16 lanes. Word w lies in bank w / BankWords.
//
// A bank has two ports. Port A serves the even pixels of the array's source and every other reader; port B the odd pixels
// and the writers. Pixels / 2 copies of each bank hold the same words, so that every pair of pixels has ports of its own.
// There is no arbitration: a program lets at most one reader at a port of a bank (see "Banks" in the manual).
//
// Four cycles from an address to its data: address register, memory, memory's output register, bank multiplexer. A write
// presented in one cycle is seen by reads presented in the next.
`include "checks.svh"

module ia_activation_memory #(
  parameter int unsigned Pixels = 2,       // even
  parameter int unsigned ActBanks = 16,    // a power of two, at least 2
  parameter int unsigned BankWords = 1024  // a power of two
) (
  input  logic                  clk_i,
  input  logic                  rst_ni,
  // Source of the array: a word for each pixel
  input  logic [Pixels-1:0]     source_read_i,
  input  logic [16*Pixels-1:0]  source_address_i,
  output logic [128*Pixels-1:0] source_data_o,
  // Other readers
  input  logic                  residual_read_i,
  input  logic [15:0]           residual_address_i,
  output logic [127:0]          residual_data_o,
  input  logic                  vector_read_i,
  input  logic [15:0]           vector_address_i,
  output logic [127:0]          vector_data_o,
  input  logic                  store_read_i,
  input  logic [15:0]           store_address_i,
  output logic [127:0]          store_data_o,
  // Writers
  input  logic                  conv_write_i,
  input  logic [15:0]           conv_write_address_i,
  input  logic [127:0]          conv_write_data_i,
  input  logic                  vector_write_i,
  input  logic [15:0]           vector_write_address_i,
  input  logic [127:0]          vector_write_data_i,
  input  logic [15:0]           vector_write_lanes_i,
  input  logic                  load_write_i,
  input  logic [15:0]           load_write_address_i,
  input  logic [127:0]          load_write_data_i
);

  localparam int unsigned Copies = Pixels / 2;
  localparam int unsigned WordBits = $clog2(BankWords);
  localparam int unsigned BankBits = $clog2(ActBanks);

  `CHECK_PARAM(PixelsArePairs, Pixels == 2 * Copies && Copies >= 1)
  `CHECK_PARAM(BanksArePowersOfTwo, ActBanks == 1 << BankBits && BankBits >= 1 && BankWords == 1 << WordBits)
  `CHECK_PARAM(AddressesHave16Bits, WordBits + BankBits <= 16)

  // ---- addresses, enables and data as they come

  logic [Pixels-1:0]    source_read_q;
  logic [16*Pixels-1:0] source_address_q;
  logic                 residual_read_q, vector_read_q, store_read_q;
  logic [15:0]          residual_address_q, vector_address_q, store_address_q;
  logic                 conv_write_q, vector_write_q, load_write_q;
  logic [15:0]          conv_write_address_q, vector_write_address_q, load_write_address_q;
  logic [127:0]         conv_write_data_q, vector_write_data_q, load_write_data_q;
  logic [15:0]          vector_write_lanes_q;

  always_ff @(posedge clk_i) begin
    source_read_q          <= source_read_i;
    source_address_q       <= source_address_i;
    residual_read_q        <= residual_read_i;
    residual_address_q     <= residual_address_i;
    vector_read_q          <= vector_read_i;
    vector_address_q       <= vector_address_i;
    store_read_q           <= store_read_i;
    store_address_q        <= store_address_i;
    conv_write_address_q   <= conv_write_address_i;
    conv_write_data_q      <= conv_write_data_i;
    vector_write_address_q <= vector_write_address_i;
    vector_write_data_q    <= vector_write_data_i;
    vector_write_lanes_q   <= vector_write_lanes_i;
    load_write_address_q   <= load_write_address_i;
    load_write_data_q      <= load_write_data_i;
    if (!rst_ni) begin
      conv_write_q   <= 1'b0;
      vector_write_q <= 1'b0;
      load_write_q   <= 1'b0;
    end else begin
      conv_write_q   <= conv_write_i;
      vector_write_q <= vector_write_i;
      load_write_q   <= load_write_i;
    end
  end

  // ---- which bank each of them wants, for as long as its data takes to come out of the memory

  logic [BankBits*Pixels-1:0] source_bank_q, source_bank_late_q;
  logic [BankBits-1:0]        residual_bank_q, residual_bank_late_q;
  logic [BankBits-1:0]        vector_bank_q, vector_bank_late_q, store_bank_q, store_bank_late_q;

  always_ff @(posedge clk_i) begin
    for (int unsigned pixel = 0; pixel < Pixels; pixel++) begin
      source_bank_q[BankBits*pixel+:BankBits] <= source_address_q[16*pixel+WordBits+:BankBits];
    end
    source_bank_late_q   <= source_bank_q;
    residual_bank_q      <= residual_address_q[WordBits+:BankBits];
    residual_bank_late_q <= residual_bank_q;
    vector_bank_q        <= vector_address_q[WordBits+:BankBits];
    vector_bank_late_q   <= vector_bank_q;
    store_bank_q         <= store_address_q[WordBits+:BankBits];
    store_bank_late_q    <= store_bank_q;
  end

  // ---- banks

  logic [128*ActBanks*Copies-1:0] a_data, b_data;  // of copy c and bank k at 128 * (ActBanks * c + k)

  for (genvar bank = 0; bank < ActBanks; bank++) begin : g_bank
    localparam logic [BankBits-1:0] Bank = BankBits'(bank);

    logic                residual_here, vector_here, store_here, conv_write_here, vector_write_here, load_write_here;
    logic [WordBits-1:0] other_address, write_address;
    logic [127:0]        write_data;
    logic [15:0]         write_lanes;
    logic                other_here, write_here;

    assign residual_here     = residual_read_q && residual_address_q[WordBits+:BankBits] == Bank;
    assign vector_here       = vector_read_q && vector_address_q[WordBits+:BankBits] == Bank;
    assign store_here        = store_read_q && store_address_q[WordBits+:BankBits] == Bank;
    assign conv_write_here   = conv_write_q && conv_write_address_q[WordBits+:BankBits] == Bank;
    assign vector_write_here = vector_write_q && vector_write_address_q[WordBits+:BankBits] == Bank;
    assign load_write_here   = load_write_q && load_write_address_q[WordBits+:BankBits] == Bank;

    assign other_here = residual_here || vector_here || store_here;
    assign write_here = conv_write_here || vector_write_here || load_write_here;

    always_comb begin
      if (vector_here) other_address = vector_address_q[WordBits-1:0];
      else if (store_here) other_address = store_address_q[WordBits-1:0];
      else other_address = residual_address_q[WordBits-1:0];
    end

    always_comb begin
      if (conv_write_here) write_address = conv_write_address_q[WordBits-1:0];
      else if (vector_write_here) write_address = vector_write_address_q[WordBits-1:0];
      else write_address = load_write_address_q[WordBits-1:0];
    end

    always_comb begin
      if (conv_write_here) write_data = conv_write_data_q;
      else if (vector_write_here) write_data = vector_write_data_q;
      else write_data = load_write_data_q;
    end

    assign write_lanes = vector_write_here ? vector_write_lanes_q : {16{write_here}};

    for (genvar copy = 0; copy < Copies; copy++) begin : g_copy
      logic                even_here, odd_here, a_enable;
      logic [WordBits-1:0] a_address;

      assign even_here = source_read_q[2*copy] && source_address_q[32*copy+WordBits+:BankBits] == Bank;
      assign odd_here  = source_read_q[2*copy+1] && source_address_q[32*copy+16+WordBits+:BankBits] == Bank;
      if (copy == 0) begin : g_first  // only the first copy has readers beside the array
        assign a_enable  = even_here || other_here;
        assign a_address = even_here ? source_address_q[32*copy+:WordBits] : other_address;
      end else begin : g_other
        assign a_enable  = even_here;
        assign a_address = source_address_q[32*copy+:WordBits];
      end

      ia_memory_bank #(.Words(BankWords)) u_bank (
        .clk_i(clk_i),
        .a_enable_i(a_enable),
        .a_address_i(a_address),
        .a_data_o(a_data[128*(ActBanks*copy+bank)+:128]),
        .b_enable_i(odd_here || write_here),
        .b_address_i(write_here ? write_address : source_address_q[32*copy+16+:WordBits]),
        .b_write_i(write_lanes),
        .b_write_data_i(write_data),
        .b_data_o(b_data[128*(ActBanks*copy+bank)+:128])
      );

      `CHECK(PortAServesOne, 3'(even_here && copy == 0) + 3'(residual_here) + 3'(vector_here) + 3'(store_here) <= 1)
      `CHECK(PortBServesOne, 3'(odd_here) + 3'(conv_write_here) + 3'(vector_write_here) + 3'(load_write_here) <= 1)
    end
  end

  // ---- the words that were asked for

  always_ff @(posedge clk_i) begin
    for (int unsigned copy = 0; copy < Copies; copy++) begin
      source_data_o[256*copy+:128] <=
          a_data[128*(ActBanks*copy+32'(source_bank_late_q[2*BankBits*copy+:BankBits]))+:128];
      source_data_o[256*copy+128+:128] <=
          b_data[128*(ActBanks*copy+32'(source_bank_late_q[2*BankBits*copy+BankBits+:BankBits]))+:128];
    end
    residual_data_o <= a_data[128*32'(residual_bank_late_q)+:128];
    vector_data_o   <= a_data[128*32'(vector_bank_late_q)+:128];
    store_data_o    <= a_data[128*32'(store_bank_late_q)+:128];
  end

  if (WordBits + BankBits < 16) begin : g_unused
    // Address bits above the last bank: programs leave them zero.
    logic unused;
    assign unused = &{1'b0, source_address_q, residual_address_q, vector_address_q, store_address_q,
                      conv_write_address_q, vector_write_address_q, load_write_address_q};
  end

endmodule
