// The top-k engine (SpAtten, section IV-B): quick-select over two FIFOs, then a pass that keeps the k largest in order.
//
// Load: a row a cycle, elements on the first lanes, all rows but the last one full. Then `start` with k. A pass over m
// rows takes m + 3 cycles: one to fetch the pivot, m to compare, one in the zero eliminators, one to write. The cycles
// from `start` to `found`, and from there to `done`, are those of `TopkEngine` in topk_engine.py.
module topk_engine #(
    parameter LANES = 16,
    parameter LOG_LANES = 4,
    parameter LOG_DEPTH = 6,
    parameter WIDTH = 16,
    parameter [15:0] SEED = 16'hACE1
) (
    input wire clock,
    input wire reset,
    input wire [LOG_LANES:0] num_loaded,
    input wire [LANES*WIDTH-1:0] loaded_row,
    input wire start,
    input wire [LOG_LANES+LOG_DEPTH:0] k,
    output reg found,
    output reg [WIDTH-1:0] threshold,
    output reg kept_valid,
    output reg [LANES-1:0] kept_lanes,
    output wire [LANES*WIDTH-1:0] kept_row,
    output wire [LOG_LANES:0] num_kept,
    output reg done
);
    localparam PLACE = LOG_LANES + LOG_DEPTH;
    localparam [2:0] IDLE = 0, PIVOT = 1, STREAM = 2, ELIMINATE = 3, WRITE = 4;
    localparam [1:0] INPUT = 0, SMALLER = 1, LARGER = 2;

    reg [2:0] state;
    reg filtering;                     // the last pass
    reg [1:0] source;                  // the list that is searched
    reg [PLACE-1:0] at;                // where its next row begins
    reg [PLACE:0] num_left;            // elements of it that have not been read
    reg [PLACE:0] num_items;           // elements of it
    reg [PLACE:0] wanted;              // the wanted-th largest of it is looked for
    reg [PLACE:0] total;               // elements of the input
    reg [PLACE:0] num_smaller, num_larger, num_equal;
    reg [PLACE-1:0] smaller_base, larger_base;
    reg [PLACE:0] ties_left;           // elements equal to the threshold that may still stay
    reg [WIDTH-1:0] pivot;
    reg [15:0] register;

    // The lists ------------------------------------------------------------------------------------------------------
    wire [PLACE-1:0] input_tail, smaller_tail, larger_tail;
    wire [LANES*WIDTH-1:0] input_row, smaller_row_read, larger_row_read;
    wire [WIDTH-1:0] input_picked, smaller_picked, larger_picked;
    wire [LANES*WIDTH-1:0] smaller_row, larger_row;
    wire [LOG_LANES:0] smaller_count, larger_count;
    wire [PLACE+16:0] scaled = register * num_items;
    wire [PLACE-1:0] pick_at = at + scaled[PLACE+16:16];

    lane_fifo #(LANES, LOG_LANES, LOG_DEPTH, WIDTH) input_list (
        .clock(clock), .reset(reset), .num_pushed(num_loaded), .pushed_row(loaded_row), .read_at(at),
        .pick_at(pick_at), .tail(input_tail), .read_row(input_row), .picked(input_picked));
    lane_fifo #(LANES, LOG_LANES, LOG_DEPTH, WIDTH) smaller_list (
        .clock(clock), .reset(reset), .num_pushed(smaller_count), .pushed_row(smaller_row), .read_at(at),
        .pick_at(pick_at), .tail(smaller_tail), .read_row(smaller_row_read), .picked(smaller_picked));
    lane_fifo #(LANES, LOG_LANES, LOG_DEPTH, WIDTH) larger_list (
        .clock(clock), .reset(reset), .num_pushed(larger_count), .pushed_row(larger_row), .read_at(at),
        .pick_at(pick_at), .tail(larger_tail), .read_row(larger_row_read), .picked(larger_picked));

    wire [LANES*WIDTH-1:0] row =
        source == INPUT ? input_row : source == SMALLER ? smaller_row_read : larger_row_read;
    wire [WIDTH-1:0] picked =
        source == INPUT ? input_picked : source == SMALLER ? smaller_picked : larger_picked;

    // The comparator arrays ------------------------------------------------------------------------------------------
    wire [LANES-1:0] is_smaller, is_larger, is_equal, is_kept;
    wire [LOG_LANES:0] ties_before [0:LANES];
    assign ties_before[0] = 0;
    genvar lane;
    generate
        for (lane = 0; lane < LANES; lane = lane + 1) begin : compare
            wire [WIDTH-1:0] item = row[lane*WIDTH +: WIDTH];
            wire here = state == STREAM && lane < num_left;
            assign is_smaller[lane] = here && item < pivot;
            assign is_larger[lane] = here && item > pivot;
            assign is_equal[lane] = here && item == pivot;
            assign is_kept[lane] = is_larger[lane] || (is_equal[lane] && ties_before[lane] < ties_left);
            assign ties_before[lane+1] = ties_before[lane] + {{LOG_LANES{1'b0}}, is_equal[lane]};
        end
    endgenerate

    function [LOG_LANES:0] count;
        input [LANES-1:0] lanes;
        integer place;
        begin
            count = 0;
            for (place = 0; place < LANES; place = place + 1) count = count + lanes[place];
        end
    endfunction

    zero_eliminator #(LANES, LOG_LANES, WIDTH) eliminate_smaller (
        .clock(clock), .reset(reset), .present(filtering ? {LANES{1'b0}} : is_smaller), .row(row), .packed_row(smaller_row),
        .num_packed(smaller_count));
    zero_eliminator #(LANES, LOG_LANES, WIDTH) eliminate_larger (
        .clock(clock), .reset(reset), .present(filtering ? {LANES{1'b0}} : is_larger), .row(row), .packed_row(larger_row),
        .num_packed(larger_count));
    zero_eliminator #(LANES, LOG_LANES, WIDTH) eliminate_pruned (
        .clock(clock), .reset(reset), .present(filtering ? is_kept : {LANES{1'b0}}), .row(row), .packed_row(kept_row),
        .num_packed(num_kept));

    // The search -----------------------------------------------------------------------------------------------------
    wire over = num_larger < wanted && wanted <= num_larger + num_equal;
    always @(posedge clock) begin
        found <= 0;
        done <= 0;
        kept_valid <= 0;
        if (reset) begin
            state <= IDLE;
            total <= 0;
            filtering <= 0;
        end else begin
            total <= total + num_loaded;
            if (state != IDLE)
                register <= {register[14:0], register[15] ^ register[14] ^ register[12] ^ register[3]};
            case (state)
                IDLE:
                    if (start) begin
                        state <= PIVOT;
                        source <= INPUT;
                        filtering <= 0;
                        at <= 0;
                        num_items <= total;
                        wanted <= k;
                        register <= SEED;
                    end
                PIVOT: begin
                    state <= STREAM;
                    if (!filtering) pivot <= picked;
                    num_left <= num_items;
                    num_smaller <= 0;
                    num_larger <= 0;
                    num_equal <= 0;
                    smaller_base <= smaller_tail;
                    larger_base <= larger_tail;
                end
                STREAM: begin
                    at <= at + LANES;
                    num_smaller <= num_smaller + count(is_smaller);
                    num_larger <= num_larger + count(is_larger);
                    num_equal <= num_equal + count(is_equal);
                    if (filtering) begin
                        ties_left <= ties_left - count(is_equal & is_kept);
                        kept_valid <= 1;
                        kept_lanes <= is_kept;
                    end
                    if (num_left <= LANES) begin
                        num_left <= 0;
                        state <= ELIMINATE;
                    end else num_left <= num_left - LANES;
                end
                ELIMINATE: state <= WRITE;
                WRITE:
                    if (filtering) begin
                        state <= IDLE;
                        done <= 1;
                    end else begin
                        state <= PIVOT;
                        if (over) begin
                            found <= 1;
                            threshold <= pivot;
                            ties_left <= wanted - num_larger;
                            filtering <= 1;
                            source <= INPUT;
                            at <= 0;
                            num_items <= total;
                        end else if (wanted <= num_larger) begin
                            source <= LARGER;
                            at <= larger_base;
                            num_items <= num_larger;
                        end else begin
                            source <= SMALLER;
                            at <= smaller_base;
                            num_items <= num_smaller;
                            wanted <= wanted - num_larger - num_equal;
                        end
                    end
                default: state <= IDLE;
            endcase
        end
    end
endmodule
