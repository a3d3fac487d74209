// Proves what ia_axi_read promises to its memory, for any requests and any memory that keeps to the protocol.
module axi_read_proof (
  input logic        clk_i,
  input logic        request_valid_i,
  input logic [7:0] request_address_i,
  input logic [3:0]  request_words_i,
  input logic        request_close_i,
  input logic        data_ready_i,
  input logic        stop_i,
  input logic        arready_i,
  input logic        rvalid_i,
  input logic [63:0] rdata_i,
  input logic [1:0]  rresp_i,
  input logic        rlast_i
);

  localparam int unsigned BurstBytes = 32;
  localparam int unsigned Outstanding = 2;

  logic         rst_ni, request_ready, data_valid, idle, error, arvalid, rready;
  logic [127:0] data;
  logic [1:0]   error_response;
  logic [7:0]  error_address, araddr;
  logic [7:0]   arlen;

  ia_axi_read #(
    .AddressBits(8), .AxiBytes(8), .BurstBytes(BurstBytes), .Outstanding(Outstanding), .WordsBits(4)
  ) u_read (
    .clk_i(clk_i),
    .rst_ni(rst_ni),
    .request_valid_i(request_valid_i),
    .request_ready_o(request_ready),
    .request_address_i(request_address_i),
    .request_words_i(request_words_i),
    .request_close_i(request_close_i),
    .data_valid_o(data_valid),
    .data_ready_i(data_ready_i),
    .data_o(data),
    .stop_i(stop_i),
    .idle_o(idle),
    .error_o(error),
    .error_response_o(error_response),
    .error_address_o(error_address),
    .arvalid_o(arvalid),
    .arready_i(arready_i),
    .araddr_o(araddr),
    .arlen_o(arlen),
    .rvalid_i(rvalid_i),
    .rready_o(rready),
    .rdata_i(rdata_i),
    .rresp_i(rresp_i),
    .rlast_i(rlast_i)
  );

  // Reset in the first cycle.
  logic started_q = 1'b0;
  always_ff @(posedge clk_i) started_q <= 1'b1;
  assign rst_ni = started_q;

  // ---- the memory: answers bursts in order, each with as many beats as were asked for

  logic [7:0] lengths_q [4];
  logic [1:0] write_q = 2'd0, read_q = 2'd0;
  logic [7:0] beat_q = 8'd0;
  logic [1:0] flying;

  assign flying = write_q - read_q;

  always_ff @(posedge clk_i) begin
    if (started_q) begin
      if (arvalid && arready_i) begin
        lengths_q[write_q] <= arlen;
        write_q <= write_q + 2'd1;
      end
      if (rvalid_i) begin
        beat_q <= rlast_i ? 8'd0 : beat_q + 8'd1;
        if (rlast_i) read_q <= read_q + 2'd1;
      end
    end
  end

  always_comb begin
    if (flying == 2'd0 || !started_q) assume (!rvalid_i);
    assume (rdata_i[63:1] == 63'd0);  // one bit is enough to follow a word
    if (rvalid_i) assume (rlast_i == (beat_q == lengths_q[read_q]));
  end

  // ---- the requests: aligned, and steady until taken

  logic        waiting_q = 1'b0, close_q;
  logic [7:0] address_q;
  logic [3:0]  words_q;

  always_ff @(posedge clk_i) begin
    waiting_q <= started_q && request_valid_i && !request_ready;
    address_q <= request_address_i;
    words_q   <= request_words_i;
    close_q   <= request_close_i;
  end

  always_comb begin
    assume (request_address_i[3:0] == 4'd0 && request_words_i != 4'd0);
    if (waiting_q) begin
      assume (request_valid_i && request_address_i == address_q && request_words_i == words_q);
      assume (request_close_i == close_q);
    end
  end

  // ---- promises

  logic         asked_q = 1'b0, offered_q = 1'b0;
  logic [7:0]  araddr_q;
  logic [7:0]   arlen_q;
  logic [127:0] data_q;

  always_ff @(posedge clk_i) begin
    asked_q   <= started_q && arvalid && !arready_i;
    araddr_q  <= araddr;
    arlen_q   <= arlen;
    offered_q <= started_q && data_valid && !data_ready_i;
    data_q    <= data;
  end

  always_comb begin
    if (started_q) begin
      assert (rready);
      assert (flying <= Outstanding);
      assert (!(idle && (arvalid || flying != 2'd0)));
      if (arvalid) begin
        assert (8'(araddr[4:0]) + {arlen[4:0], 3'd0} + 8'd8 <= 8'(BurstBytes));
        assert (araddr[3:0] == 4'd0 && arlen[0] && arlen[7:2] == 6'd0);
      end
      if (asked_q) assert (arvalid && araddr == araddr_q && arlen == arlen_q);
      if (offered_q) assert (data_valid && data == data_q);
    end
  end

  // Of all words that arrive, an arbitrary one comes out in its turn and unchanged.
  (* anyconst *) logic [3:0] number;
  logic [3:0]   arrived_q = 4'd0, taken_q = 4'd0;
  logic         second_q = 1'b0, stopped_q = 1'b0;
  logic [63:0]  lower_q;
  logic [127:0] followed_q;

  always_ff @(posedge clk_i) begin
    if (started_q) begin
      stopped_q <= stopped_q || stop_i;
      if (rvalid_i) begin
        second_q <= !second_q;
        lower_q  <= rdata_i;
        if (second_q) begin
          arrived_q <= arrived_q + 4'd1;
          if (arrived_q == number) followed_q <= {rdata_i, lower_q};
        end
      end
      if (data_valid && data_ready_i) taken_q <= taken_q + 4'd1;
    end
  end

  always_comb begin
    if (started_q && !stopped_q) begin
      // The FIFO, and a word that is offered.
      assert (4'(arrived_q - taken_q) <= 4'd5);
      if (data_valid) assert (taken_q != arrived_q);
      if (data_valid && taken_q == number) assert (data == followed_q);
    end
  end

endmodule
