// Proves what ia_axi_write promises to its memory, for any requests, any data that fits its FIFO and any memory that keeps
// to the protocol.
module axi_write_proof (
  input logic         clk_i,
  input logic         request_valid_i,
  input logic [7:0]  request_address_i,
  input logic [3:0]   request_words_i,
  input logic         request_close_i,
  input logic         data_valid_i,
  input logic [127:0] data_i,
  input logic         stop_i,
  input logic         awready_i,
  input logic         wready_i,
  input logic         bvalid_i,
  input logic [1:0]   bresp_i
);

  localparam int unsigned BurstBytes = 32;
  localparam int unsigned Outstanding = 2;
  localparam int unsigned FifoWords = 4;

  logic        rst_ni, request_ready, data_left, closed, idle, error, awvalid, wvalid, wlast, bready;
  logic [1:0]  error_response;
  logic [7:0] error_address, awaddr;
  logic [7:0]  awlen, wstrb;
  logic [63:0] wdata;

  ia_axi_write #(
    .AddressBits(8), .AxiBytes(8), .BurstBytes(BurstBytes), .Outstanding(Outstanding), .WordsBits(4),
    .FifoWords(FifoWords)
  ) u_write (
    .clk_i(clk_i),
    .rst_ni(rst_ni),
    .request_valid_i(request_valid_i),
    .request_ready_o(request_ready),
    .request_address_i(request_address_i),
    .request_words_i(request_words_i),
    .request_close_i(request_close_i),
    .data_valid_i(data_valid_i),
    .data_i(data_i),
    .data_left_o(data_left),
    .closed_o(closed),
    .stop_i(stop_i),
    .idle_o(idle),
    .error_o(error),
    .error_response_o(error_response),
    .error_address_o(error_address),
    .awvalid_o(awvalid),
    .awready_i(awready_i),
    .awaddr_o(awaddr),
    .awlen_o(awlen),
    .wvalid_o(wvalid),
    .wready_i(wready_i),
    .wdata_o(wdata),
    .wstrb_o(wstrb),
    .wlast_o(wlast),
    .bvalid_i(bvalid_i),
    .bready_o(bready),
    .bresp_i(bresp_i)
  );

  // Reset in the first cycle.
  logic started_q = 1'b0;
  always_ff @(posedge clk_i) started_q <= 1'b1;
  assign rst_ni = started_q;

  // ---- the memory: counts addresses, bursts of data and answers; answers what it has both of

  logic [3:0] asked_q = 4'd0, sent_q = 4'd0, answered_q = 4'd0;
  logic [7:0] lengths_q [4];
  logic [7:0] beat_q = 8'd0;
  logic [3:0] flying;

  assign flying = asked_q - answered_q;

  always_ff @(posedge clk_i) begin
    if (started_q) begin
      if (awvalid && awready_i) begin
        lengths_q[asked_q[1:0]] <= awlen;
        asked_q <= asked_q + 4'd1;
      end
      if (wvalid && wready_i) begin
        beat_q <= wlast ? 8'd0 : beat_q + 8'd1;
        if (wlast) sent_q <= sent_q + 4'd1;
      end
      if (bvalid_i) answered_q <= answered_q + 4'd1;
    end
  end

  always_comb begin
    if (!started_q || answered_q == asked_q || answered_q == sent_q) assume (!bvalid_i);
  end

  // ---- the sender: aligned requests, steady until taken; data where there is room

  logic        waiting_q = 1'b0, close_q, stopped_q = 1'b0;
  logic [7:0] address_q;
  logic [3:0]  words_q;
  logic [2:0]  room_q = 3'(FifoWords);

  always_ff @(posedge clk_i) begin
    waiting_q <= started_q && request_valid_i && !request_ready;
    address_q <= request_address_i;
    words_q   <= request_words_i;
    close_q   <= request_close_i;
    stopped_q <= stop_i;
    if (started_q) room_q <= room_q - 3'(data_valid_i) + 3'(data_left);
  end

  always_comb begin
    assume (request_address_i[3:0] == 4'd0 && request_words_i != 4'd0);
    if (waiting_q) begin
      assume (request_valid_i && request_address_i == address_q && request_words_i == words_q);
      assume (request_close_i == close_q);
    end
    assume (data_i[127:65] == 63'd0 && data_i[63:1] == 63'd0);  // a bit of each half is enough
    if (room_q == 3'd0 || !started_q) assume (!data_valid_i);
    if (stopped_q) assume (stop_i);  // until the next reset
  end

  // ---- promises

  logic        aw_waits_q = 1'b0, w_waits_q = 1'b0, middle_q = 1'b0, wlast_q;
  logic [7:0] awaddr_q;
  logic [7:0]  awlen_q, wstrb_q;
  logic [63:0] wdata_q;

  always_ff @(posedge clk_i) begin
    aw_waits_q <= started_q && awvalid && !awready_i;
    awaddr_q   <= awaddr;
    awlen_q    <= awlen;
    w_waits_q  <= started_q && wvalid && !wready_i;
    wdata_q    <= wdata;
    wstrb_q    <= wstrb;
    wlast_q    <= wlast;
    middle_q   <= started_q && wvalid && wready_i && !wlast;
  end

  always_comb begin
    if (started_q) begin
      assert (bready);
      assert (flying <= 4'(Outstanding));
      assert (!(idle && (awvalid || wvalid || flying != 4'd0)));
      if (awvalid) begin
        assert (8'(awaddr[4:0]) + {awlen[4:0], 3'd0} + 8'd8 <= 8'(BurstBytes));
        assert (awaddr[3:0] == 4'd0 && awlen[0] && awlen[7:2] == 6'd0);
      end
      if (aw_waits_q) assert (awvalid && awaddr == awaddr_q && awlen == awlen_q);
      if (w_waits_q) assert (wvalid && wdata == wdata_q && wstrb == wstrb_q && wlast == wlast_q);
      if (middle_q) assert (wvalid);
      if (wvalid) begin
        // Data may be one burst ahead of its address, which is offered then.
        if (sent_q != asked_q) assert (wlast == (beat_q == lengths_q[sent_q[1:0]]));
        else assert (awvalid && wlast == (beat_q == awlen));
      end
    end
  end

endmodule
