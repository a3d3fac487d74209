// The register file answers every write and every read exactly once, holds its answers until they are taken, and never
// lets a ready master wait for more than two cycles.
module registers_proof (
  input logic        clk_i,
  input logic        rst_ni,
  input logic        awvalid_i,
  input logic [11:0] awaddr_i,
  input logic        wvalid_i,
  input logic [31:0] wdata_i,
  input logic [3:0]  wstrb_i,
  input logic        bready_i,
  input logic        arvalid_i,
  input logic [11:0] araddr_i,
  input logic        rready_i,
  input logic        running_i,
  input logic [15:0] state_i,
  input logic [63:0] counter_i
);

  logic        awready, wready, bvalid, arready, rvalid;
  logic [31:0] rdata;
  logic [1:0]  bresp, rresp;
  logic        start, soft_reset;

  ia_registers #(.AddressBits(32), .ConfigHash(64'h0123_4567_89ab_cdef)) u_registers (
    .clk_i(clk_i),
    .rst_ni(rst_ni),
    .s_axi_awvalid_i(awvalid_i),
    .s_axi_awready_o(awready),
    .s_axi_awaddr_i(awaddr_i),
    .s_axi_wvalid_i(wvalid_i),
    .s_axi_wready_o(wready),
    .s_axi_wdata_i(wdata_i),
    .s_axi_wstrb_i(wstrb_i),
    .s_axi_bvalid_o(bvalid),
    .s_axi_bready_i(bready_i),
    .s_axi_bresp_o(bresp),
    .s_axi_arvalid_i(arvalid_i),
    .s_axi_arready_o(arready),
    .s_axi_araddr_i(araddr_i),
    .s_axi_rvalid_o(rvalid),
    .s_axi_rready_i(rready_i),
    .s_axi_rdata_o(rdata),
    .s_axi_rresp_o(rresp),
    .start_o(start),
    .soft_reset_o(soft_reset),
    .running_i(running_i),
    .done_i(1'b0),
    .error_i(1'b0),
    .interrupt_i(1'b0),
    .error_cause_i(4'd0),
    .error_queue_i(3'd0),
    .error_word_i(24'd0),
    .error_state_i(state_i),
    .error_address_i(32'd0),
    .counter_sum_i(counter_i)
  );

  initial assume (!rst_ni);

  // Accepted and not yet answered: addresses of writes, data of writes, reads.
  logic [1:0]  addresses_q, data_q, reads_q;
  logic        b_held_q, r_held_q, write_waits_q, read_waits_q;
  logic [31:0] r_data_q;

  always @(posedge clk_i) begin
    if (!rst_ni) begin
      addresses_q   <= '0;
      data_q        <= '0;
      reads_q       <= '0;
      b_held_q      <= 1'b0;
      r_held_q      <= 1'b0;
      write_waits_q <= 1'b0;
      read_waits_q  <= 1'b0;
    end else begin
      addresses_q   <= addresses_q + 2'(awvalid_i && awready) - 2'(bvalid && bready_i);
      data_q        <= data_q + 2'(wvalid_i && wready) - 2'(bvalid && bready_i);
      reads_q       <= reads_q + 2'(arvalid_i && arready) - 2'(rvalid && rready_i);
      b_held_q      <= bvalid && !bready_i;
      r_held_q      <= rvalid && !rready_i;
      write_waits_q <= addresses_q != '0 && data_q != '0 && !bvalid;
      read_waits_q  <= reads_q != '0 && !rvalid;
    end
    r_data_q <= rdata;
  end

  always @(posedge clk_i) begin
    if (rst_ni) begin
      addresses: assert (addresses_q == 2'(!awready) + 2'(bvalid));
      data: assert (data_q == 2'(!wready) + 2'(bvalid));
      reads: assert (reads_q == 2'(!arready));
      answer_to_a_write: assert (!bvalid || (addresses_q != '0 && data_q != '0));
      answer_to_a_read: assert (!rvalid || reads_q != '0);
      if (b_held_q) write_answer_holds: assert (bvalid);
      if (r_held_q) read_answer_holds: assert (rvalid && rdata == r_data_q);
      if (write_waits_q) write_answer_comes: assert (bvalid);
      if (read_waits_q) read_answer_comes: assert (rvalid);
      all_is_well: assert (bresp == 2'b00 && rresp == 2'b00);
      one_command: assert (!(start && soft_reset));
    end
  end

endmodule
