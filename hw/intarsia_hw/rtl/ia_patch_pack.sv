// Packs pieces of up to 16 bytes, cut from two neighbouring words, into whole words.
//
// A piece is count_i bytes from byte rotate_i of the pair of words on; bytes before low_i or from high_i on lie outside of
// the image and become fill. It is put behind the bytes before it; place_i says where in the word that is. Full words leave
// at once, and the last one of a vector with zeros behind. Where the last piece of a vector ends in another word than
// it begins in, the rest leaves in the next cycle; a piece may come in that cycle if it fills no word.
`include "checks.svh"

module ia_patch_pack (
  input  logic         clk_i,
  input  logic         rst_ni,
  input  logic         valid_i,
  input  logic [127:0] even_i,      // words of the two banks
  input  logic [127:0] odd_i,
  input  logic         swap_i,      // the pair begins with the odd one
  input  logic [3:0]   rotate_i,
  input  logic [4:0]   low_i,       // 0 to 16
  input  logic [4:0]   high_i,      // 0 to 16
  input  logic [4:0]   count_i,     // 1 to 16
  input  logic [3:0]   place_i,
  input  logic         last_i,      // of its vector
  input  logic [7:0]   fill_i,
  output logic         valid_o,
  output logic         last_o,      // the last word of its vector
  output logic [127:0] data_o,
  output logic         empty_o      // nothing is on its way
);

  // ---- 1: the pair in order, shifted by whole groups of 4 bytes

  logic         valid_1_q, last_1_q;
  logic [151:0] shifted_1_q;
  logic [1:0]   rotate_1_q;
  logic [15:0]  inside_1_q, there_1_q;
  logic [3:0]   place_1_q;
  logic [4:0]   end_1_q;
  logic [247:0] pair;

  assign pair = swap_i ? {even_i[119:0], odd_i} : {odd_i[119:0], even_i};

  always_ff @(posedge clk_i) begin
    case (rotate_i[3:2])
      2'd0: shifted_1_q <= pair[151:0];
      2'd1: shifted_1_q <= pair[183:32];
      2'd2: shifted_1_q <= pair[215:64];
      default: shifted_1_q <= pair[247:96];
    endcase
    rotate_1_q <= rotate_i[1:0];
    place_1_q  <= place_i;
    end_1_q    <= 5'(place_i) + count_i;
    last_1_q   <= last_i;
    for (int unsigned lane = 0; lane < 16; lane++) begin
      inside_1_q[lane] <= 5'(lane) >= low_i && 5'(lane) < high_i;
      there_1_q[lane]  <= 5'(lane) < count_i;
    end
  end

  // ---- 2: the piece, with fill outside of the image and zeros behind its end

  logic         valid_2_q, last_2_q;
  logic [127:0] piece_2_q, piece;
  logic [3:0]   place_2_q;
  logic [4:0]   end_2_q;

  always_comb begin
    case (rotate_1_q)
      2'd0: piece = shifted_1_q[127:0];
      2'd1: piece = shifted_1_q[135:8];
      2'd2: piece = shifted_1_q[143:16];
      default: piece = shifted_1_q[151:24];
    endcase
  end

  always_ff @(posedge clk_i) begin
    for (int unsigned lane = 0; lane < 16; lane++) begin
      piece_2_q[8*lane+:8] <= !there_1_q[lane] ? 8'd0 : inside_1_q[lane] ? piece[8*lane+:8] : fill_i;
    end
    place_2_q <= place_1_q;
    end_2_q   <= end_1_q;
    last_2_q  <= last_1_q;
  end

  // ---- 3: the piece turned to its place

  logic         valid_3_q, last_3_q, fills_3_q, rests_3_q;
  logic [127:0] turned_3_q;
  logic [15:0]  upper_3_q;  // lanes of this word; the others belong to the next
  logic [127:0] turned;

  always_comb begin
    case (place_2_q[3:2])
      2'd0: turned = piece_2_q;
      2'd1: turned = {piece_2_q[95:0], piece_2_q[127:96]};
      2'd2: turned = {piece_2_q[63:0], piece_2_q[127:64]};
      default: turned = {piece_2_q[31:0], piece_2_q[127:32]};
    endcase
  end

  always_ff @(posedge clk_i) begin
    case (place_2_q[1:0])
      2'd0: turned_3_q <= turned;
      2'd1: turned_3_q <= {turned[119:0], turned[127:120]};
      2'd2: turned_3_q <= {turned[111:0], turned[127:112]};
      default: turned_3_q <= {turned[103:0], turned[127:104]};
    endcase
    for (int unsigned lane = 0; lane < 16; lane++) upper_3_q[lane] <= 4'(lane) >= place_2_q;
    last_3_q  <= last_2_q;
    fills_3_q <= end_2_q[4];
    rests_3_q <= end_2_q > 5'd16;
  end

  // ---- 4: words

  logic         rest_q;  // the rest of a vector leaves now
  logic         valid_4_q, last_4_q;
  logic [127:0] kept_q, data_4_q, joined, rest;

  always_comb begin
    for (int unsigned lane = 0; lane < 16; lane++) begin
      joined[8*lane+:8] = upper_3_q[lane] ? turned_3_q[8*lane+:8] : kept_q[8*lane+:8];
      rest[8*lane+:8]   = upper_3_q[lane] ? 8'd0 : turned_3_q[8*lane+:8];
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      valid_1_q <= 1'b0;
      valid_2_q <= 1'b0;
      valid_3_q <= 1'b0;
      valid_4_q <= 1'b0;
      rest_q    <= 1'b0;
    end else begin
      valid_1_q <= valid_i;
      valid_2_q <= valid_1_q;
      valid_3_q <= valid_2_q;
      valid_4_q <= rest_q || (valid_3_q && (fills_3_q || last_3_q));
      rest_q    <= valid_3_q && last_3_q && rests_3_q;
    end
  end

  always_ff @(posedge clk_i) begin
    // Behind the last piece of a vector place is 0 again: nothing of what is kept is used.
    if (valid_3_q) kept_q <= fills_3_q ? rest : joined;
    data_4_q <= rest_q ? kept_q : joined;
    last_4_q <= rest_q || (last_3_q && !rests_3_q);
  end

  assign valid_o = valid_4_q;
  assign last_o  = last_4_q;
  assign data_o  = data_4_q;
  assign empty_o = !valid_i && !valid_1_q && !valid_2_q && !valid_3_q && !valid_4_q && !rest_q;

  `CHECK(OneWordLeavesAtATime, rest_q |-> !(valid_3_q && (fills_3_q || last_3_q)))

endmodule
