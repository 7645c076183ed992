// A FIFO that takes any number of packed elements a cycle and gives a full row from any place: a bank for each lane.
//
// Element i of the list lies in bank i mod LANES, so neighbours never share a bank. A push turns the row so that its
// first element meets the bank of the tail; a read turns it back.
module lane_fifo #(
    parameter LANES = 16,
    parameter LOG_LANES = 4,
    parameter LOG_DEPTH = 6,
    parameter WIDTH = 16
) (
    input wire clock,
    input wire reset,
    input wire [LOG_LANES:0] num_pushed,
    input wire [LANES*WIDTH-1:0] pushed_row,
    input wire [LOG_LANES+LOG_DEPTH-1:0] read_at,
    input wire [LOG_LANES+LOG_DEPTH-1:0] pick_at,
    output reg [LOG_LANES+LOG_DEPTH-1:0] tail,
    output wire [LANES*WIDTH-1:0] read_row,
    output wire [WIDTH-1:0] picked
);
    localparam PLACE = LOG_LANES + LOG_DEPTH;
    wire [WIDTH-1:0] by_bank [0:LANES-1];
    wire [WIDTH-1:0] pick_by_bank [0:LANES-1];
    genvar bank;
    generate
        for (bank = 0; bank < LANES; bank = bank + 1) begin : banks
            reg [WIDTH-1:0] memory [0:(1<<LOG_DEPTH)-1];
            // Which element of the row this bank holds: (bank - place) mod LANES.
            wire [LOG_LANES-1:0] push_lane = bank - tail[LOG_LANES-1:0];
            wire [LOG_LANES-1:0] read_lane = bank - read_at[LOG_LANES-1:0];
            wire [PLACE-1:0] push_place = tail + push_lane;
            wire [PLACE-1:0] read_place = read_at + read_lane;
            always @(posedge clock)
                if ({1'b0, push_lane} < num_pushed)
                    memory[push_place[PLACE-1:LOG_LANES]] <= pushed_row[push_lane*WIDTH +: WIDTH];
            assign by_bank[bank] = memory[read_place[PLACE-1:LOG_LANES]];
            assign pick_by_bank[bank] = memory[pick_at[PLACE-1:LOG_LANES]];
        end
        for (bank = 0; bank < LANES; bank = bank + 1) begin : lanes
            wire [LOG_LANES-1:0] from = bank + read_at[LOG_LANES-1:0];
            assign read_row[bank*WIDTH +: WIDTH] = by_bank[from];
        end
    endgenerate
    wire [LOG_LANES-1:0] pick_bank = pick_at[LOG_LANES-1:0];
    assign picked = pick_by_bank[pick_bank];

    always @(posedge clock)
        if (reset) tail <= 0;
        else tail <= tail + num_pushed;
endmodule
