// The zero eliminator (SpAtten, section IV-C): the elements of a row that are present, packed to the left, in order.
//
// Each element counts the empty lanes on its left; layer r moves it 2^r lanes to the left where bit r of that count is
// set. The network is combinational, with one register behind it: a row enters in one cycle and is there in the next.
module zero_eliminator #(
    parameter LANES = 16,
    parameter LOG_LANES = 4,
    parameter WIDTH = 16
) (
    input wire clock,
    input wire reset,
    input wire [LANES-1:0] present,
    input wire [LANES*WIDTH-1:0] row,
    output reg [LANES*WIDTH-1:0] packed_row,
    output reg [LOG_LANES:0] num_packed
);
    // The exclusive prefix count of zeros.
    wire [LOG_LANES:0] empty_before [0:LANES];
    assign empty_before[0] = 0;

    // What lies on each lane before layer r, at LANES * r + lane: whether there is an element, the element, its way.
    localparam PLACES = LANES * (LOG_LANES + 1);
    wire there [0:PLACES-1];
    wire [WIDTH-1:0] element [0:PLACES-1];
    wire [LOG_LANES:0] way [0:PLACES-1];
    genvar lane, layer;
    generate
        for (lane = 0; lane < LANES; lane = lane + 1) begin : enter
            assign empty_before[lane+1] = empty_before[lane] + {{LOG_LANES{1'b0}}, ~present[lane]};
            assign there[lane] = present[lane];
            assign element[lane] = row[lane*WIDTH +: WIDTH];
            assign way[lane] = empty_before[lane];
        end
        for (layer = 0; layer < LOG_LANES; layer = layer + 1) begin : shift
            for (lane = 0; lane < LANES; lane = lane + 1) begin : to
                localparam HERE = LANES * layer + lane, NEXT = HERE + LANES, FROM = HERE + (1 << layer);
                wire stays = there[HERE] & ~way[HERE][layer];
                if (lane + (1 << layer) < LANES) begin : reachable
                    wire comes = there[FROM] & way[FROM][layer];
                    assign there[NEXT] = stays | comes;
                    assign element[NEXT] = comes ? element[FROM] : element[HERE];
                    assign way[NEXT] = comes ? way[FROM] : way[HERE];
                end else begin : last
                    assign there[NEXT] = stays;
                    assign element[NEXT] = element[HERE];
                    assign way[NEXT] = way[HERE];
                end
            end
        end
        for (lane = 0; lane < LANES; lane = lane + 1) begin : leave
            always @(posedge clock) packed_row[lane*WIDTH +: WIDTH] <= element[LANES*LOG_LANES + lane];
        end
    endgenerate

    always @(posedge clock) num_packed <= reset ? 0 : LANES - empty_before[LANES];
endmodule
