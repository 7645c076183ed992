// The fast engine: what reference.py does, with the same rules, compiled.
//
// Three things make it fast. Time leaps to the next cycle in which an agent could move. Meanwhile one pseudo-channel after the
// other goes its way up to there, each asked only in cycles in which it could say something; it may go on as long as nobody
// could ask for anything new, since no fetch can be complete before its last transaction is read and data that were read
// arrive a known time later. And while one run of neighbours is read, with nothing else that could happen, reads are counted
// instead of gone through. Every rule is that of the reference, agent by agent and in the same order, so that both agree in
// every cycle.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <deque>
#include <vector>

namespace {

using i64 = int64_t;
constexpr i64 NEVER = i64(1) << 62;

// must be the order of `_PARAMETERS` in fast.py
struct Parameters {
    i64 channels, pseudo_channels, groups, banks, columns, transaction_bytes, queue_depth;
    i64 cl, rcd, rp, ras, rc, ccd_short, ccd_long, rrd_short, rrd_long, faw, refi, rfc, burst;
    i64 ideal, address_cycles, data_cycles;
    i64 key_buffers, value_buffers, buffered_rows, topk_capacity;
    i64 query_key_latency, prob_value_latency, importance_latency;
    i64 first_latency, arrival_latency, second_latency, fifo_depth;
};

// must be the order of `_COLUMNS` in fast.py
struct Row {
    i64 queries, keys, values, fetched_values, tokens, barrier, key_seed;
    i64 query_key_cycles, softmax_words, topk_cycles, prob_value_cycles, token_topk_cycles;
    i64 second_plane, decides, values_at_once;
    i64 start[3], stride[3], count[3], bits[3];  // keys' first plane, their second, values; start with offset
};

constexpr int TIMES = 9;
enum Time { KEYS_ASKED, KEYS_THERE, FIRST_SCORE, PROBABILITIES, CHOSEN, VALUES_ASKED, VALUES_THERE, LAST_PRODUCT, FINISHED };
enum Count { QUERY_KEY, SOFTMAX, TOPK, TOKENS, PROB_VALUE, HBM, TRANSACTIONS, ACTIVATES, REFRESHES, COUNTS };
enum Plane { NO_PLANE, WITH_KEYS, WHEN_FLAT };
enum What { KEYS, SECOND_KEYS, VALUES };

struct Division {  // by shifting where the divisor is a power of two
    i64 by;
    int shift;
    explicit Division(i64 divisor) : by(divisor), shift(-1) {
        if ((divisor & (divisor - 1)) == 0) {
            shift = 0;
            while ((i64(1) << shift) < divisor) ++shift;
        }
    }
    void split(i64 number, i64& quotient, i64& rest) const {
        quotient = shift >= 0 ? number >> shift : number / by;
        rest = number - quotient * by;
    }
};

uint64_t hash(uint64_t seed, uint64_t token) {  // splitmix64's mixing, as `surviving` in fetcher.py
    uint64_t word = seed * 0x9E3779B97F4A7C15ull + token * 0xD1B54A32D192ED03ull;
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9ull;
    word = (word ^ word >> 27) * 0x94D049BB133111EBull;
    return (word ^ word >> 31) >> 32;
}

void surviving(i64 seed, i64 num_tokens, i64 num_kept, std::vector<i64>& kept) {
    kept.clear();
    i64 wanted = num_kept;
    for (i64 token = 0; token < num_tokens && wanted > 0; ++token)
        if (i64(hash(seed, token) * uint64_t(num_tokens - token) >> 32) < wanted) {
            --wanted;
            kept.push_back(token);
        }
}

// --- memory ----------------------------------------------------------------------------------------------------------

struct Place {  // neighbours in one row of a bank, and how many
    int32_t bank;
    int32_t row;
    int32_t left;
};

struct Fetch {
    i64 row = -1;
    int what = 0;
    i64 posted = 0, ready = NEVER, missing = 0, last = 0, bits_left = 0;
    i64 quiet = 0;  // once it is there nothing is asked for that is sooner than so many cycles later
    std::vector<std::vector<Place>> queues;  // by pseudo-channel
    std::vector<size_t> heads;
    bool older_than(const Fetch& other) const { return row != other.row ? row < other.row : what < other.what; }
};

struct Run {  // requests for one row of a bank that wait behind each other
    int32_t bank, row;
    int32_t count;
    Fetch* fetch;
    bool takes(const Place& place, const Fetch* of) const { return fetch == of && bank == place.bank && row == place.row; }
};

struct Bank {
    i64 may_activate = 0, may_precharge = 0, may_read = 0;
    int32_t row = -1;          // -1: closed
    int32_t waiting = 0, hits = 0;  // requests for it in the queue, and those for its open row
    bool needy() const { return waiting > 0 && hits == 0; }
};

struct Queue {  // oldest first; neighbours for the same row are one run
    std::vector<Run> runs;
    i64 size = 0;
    Run& push(const Place& place, Fetch* fetch) {
        if (runs.empty() || !runs.back().takes(place, fetch)) runs.push_back({place.bank, place.row, 0, fetch});
        ++runs.back().count;
        ++size;
        return runs.back();
    }
    void take(size_t index, i64 how_many) {
        size -= how_many;
        runs[index].count -= int32_t(how_many);
        if (runs[index].count == 0) runs.erase(runs.begin() + index);
    }
};

struct Channel {
    const Parameters* p;
    std::vector<Bank> banks;
    Queue queue;
    std::vector<i64> last_activate, last_read;  // by bank group
    std::vector<uint8_t> group_of, seen;        // by bank
    i64 four[4] = {-NEVER, -NEVER, -NEVER, -NEVER};
    int oldest_of_four = 0;
    i64 bus_free = 0, refresh_due = 0, refreshing_until = 0, wake = 0;
    i64 wish_at = 0;  // before it no needy bank can be told anything
    i64 last_read_of_any = -NEVER, last_activate_of_any = -NEVER;
    int needy = 0;
    int reading = -1;  // the run that was read last, while it has more
    i64 activates = 0, refreshes = 0;

    void init(const Parameters& parameters) {
        p = &parameters;
        banks.resize(p->banks);
        last_activate.assign(p->groups, -NEVER);
        last_read.assign(p->groups, -NEVER);
        seen.resize(p->banks);
        for (i64 bank = 0; bank < p->banks; ++bank) group_of.push_back(uint8_t(bank % p->groups));
        refresh_due = p->refi;
    }

    bool has_room() const { return queue.size < p->queue_depth; }

    void accept(const Place& place, Fetch* fetch, i64 cycle) {
        Bank& bank = banks[place.bank];
        const bool was_needy = bank.needy();
        ++bank.waiting;
        if (bank.row == place.row) ++bank.hits;
        needy += bank.needy() - was_needy;
        if (bank.needy() != was_needy) wish_at = 0;  // another request for a bank that is needy already changes no wish
        if (queue.push(place, fetch).count == 1) wake = std::min(wake, cycle);
    }

    i64 read_time(const Run& it) const {
        const Bank& bank = banks[it.bank];
        if (bank.row != it.row) return NEVER;
        const i64 in_group = last_read[group_of[it.bank]] + p->ccd_long;  // a long way is no shorter than a short one
        return std::max({bank.may_read, bus_free - p->cl, last_read_of_any + p->ccd_short, in_group});
    }

    i64 next_read() const { return std::max(bus_free - p->cl, last_read_of_any + p->ccd_short); }  // of any bank at best

    i64 activate_time(int bank) const {
        const i64 in_group = last_activate[group_of[bank]] + p->rrd_long;
        const i64 in_window = four[oldest_of_four] + p->faw;
        return std::max({banks[bank].may_activate, in_window, last_activate_of_any + p->rrd_short, in_group});
    }

    // One cycle; the fetch whose transaction was read, and when its data have come.
    Fetch* tick(i64 cycle) {
        if (cycle < wake) return nullptr;
        if (cycle < refreshing_until) {
            wake = refreshing_until;
            return nullptr;
        }
        if (cycle >= refresh_due) {
            refresh(cycle);
            wake = refreshing_until;
            return nullptr;
        }
        if (queue.size == 0) {
            wake = refresh_due;
            return nullptr;
        }
        const i64 earliest = next_read();
        int index = -1;
        i64 next = NEVER;
        if (earliest <= cycle) {
            for (size_t it = 0; it < queue.runs.size(); ++it) {
                const i64 time = read_time(queue.runs[it]);
                if (time <= cycle) {
                    index = int(it);
                    break;
                }
                next = std::min(next, time);
            }
        } else {
            next = earliest;
        }
        int wished = -1;
        int32_t wished_row = -1;
        if (needy && cycle < wish_at) {
            next = std::min(next, wish_at);
        } else if (needy) {
            i64 next_wish = NEVER;
            std::fill(seen.begin(), seen.end(), 0);
            int left = needy;
            for (const Run& it : queue.runs) {
                const Bank& bank = banks[it.bank];
                if (!bank.needy() || seen[it.bank]) continue;
                seen[it.bank] = 1;
                const i64 time = bank.row < 0 ? activate_time(it.bank) : bank.may_precharge;
                if (time <= cycle) {
                    wished = it.bank;
                    wished_row = bank.row < 0 ? it.row : -1;
                    break;
                }
                next_wish = std::min(next_wish, time);
                if (--left == 0) break;
            }
            wish_at = wished >= 0 ? 0 : next_wish;
            next = std::min(next, next_wish);
        }
        Fetch* fetch = nullptr;
        if (index >= 0) {
            fetch = queue.runs[index].fetch;
            read(index, 1, cycle);
        }
        if (wished >= 0) obey(cycle, wished, wished_row);
        if (index < 0 && wished < 0)
            wake = std::min(next, refresh_due);
        else
            look_again(cycle);
        return fetch;
    }

    // The next read, of any bank at best, or the next wish.
    void look_again(i64 cycle) {
        wake = std::min({refresh_due, queue.size ? std::max(cycle + 1, next_read()) : NEVER,
                         needy ? std::max(cycle + 1, wish_at) : NEVER});
    }

    void read(int index, i64 how_many, i64 last) {
        const int number = queue.runs[index].bank;
        Bank& bank = banks[number];
        bank.waiting -= int32_t(how_many);
        bank.hits -= int32_t(how_many);
        if (bank.needy()) ++needy, wish_at = 0;
        last_read[group_of[number]] = last_read_of_any = last;
        bus_free = last + p->cl + p->burst;
        reading = queue.runs[index].count > how_many ? index : -1;
        queue.take(index, how_many);
    }

    // Until when, without, nothing happens but that the run is read on.
    i64 undisturbed_until(i64 cycle) const {
        i64 until = refresh_due;
        if (needy) until = std::min(until, std::max(cycle + 1, wish_at));
        for (int it = 0; it < reading; ++it)
            if (banks[queue.runs[it].bank].row == queue.runs[it].row)
                until = std::min(until, banks[queue.runs[it].bank].may_read);
        return until;
    }

    void obey(i64 cycle, int number, int32_t row) {
        Bank& bank = banks[number];
        needy -= bank.needy();
        wish_at = 0;
        bank.row = row;
        bank.hits = 0;
        if (row < 0) {
            bank.may_activate = std::max(bank.may_activate, cycle + p->rp);
        } else {
            for (const Run& it : queue.runs) bank.hits += it.bank == number && it.row == row ? it.count : 0;
            bank.may_read = cycle + p->rcd;
            bank.may_precharge = cycle + p->ras;
            bank.may_activate = cycle + p->rc;
            last_activate[group_of[number]] = last_activate_of_any = cycle;
            four[oldest_of_four] = cycle;
            oldest_of_four = (oldest_of_four + 1) % 4;
            ++activates;
        }
        needy += bank.needy();
    }

    void refresh(i64 cycle) {
        i64 start = cycle;
        bool opened = false;
        for (const Bank& bank : banks)
            if (bank.row >= 0) {
                start = std::max(start, bank.may_precharge);
                opened = true;
            }
        if (opened) start += p->rp;
        for (const Bank& bank : banks) start = std::max(start, bank.may_activate - p->rc);
        needy = 0;
        wish_at = 0;
        for (Bank& bank : banks) {
            bank.row = -1;
            bank.hits = 0;
            bank.may_activate = start + p->rfc;
            needy += bank.needy();
        }
        refresh_due += p->refi;
        refreshing_until = start + p->rfc;
        ++refreshes;
    }
};

struct Memory {
    const Parameters& p;
    std::vector<Channel> channels;
    std::vector<Fetch*> active;  // by age
    std::vector<std::vector<Fetch*>> pending;  // by pseudo-channel, by age: those with requests to hand over
    Division by_channels, by_columns, by_banks, by_turns;
    std::vector<int32_t> in_row;  // by pseudo-channel
    std::vector<i64> look_at;  // by pseudo-channel, the first cycle in which it could do anything
    i64 busy = 0, transactions = 0;

    explicit Memory(const Parameters& parameters)
        : p(parameters), channels(parameters.channels), pending(parameters.channels),
          by_channels(parameters.channels), by_columns(parameters.columns), by_banks(parameters.banks), by_turns(parameters.pseudo_channels) {
        for (Channel& it : channels) it.init(p);
        look_at.assign(p.channels, 0);
        in_row.assign(p.channels, 0);
    }

    void add(Fetch& fetch, i64 start, i64 stride, i64 count, const std::vector<i64>& tokens) {
        transactions += count * i64(tokens.size());
        fetch.missing += count * i64(tokens.size());
        if (p.ideal) return;
        i64 line, channel, opened = -1, end = 0;  // a line: neighbours, one in each channel; `columns` of them are a row
        for (i64 token : tokens) {
            by_channels.split(start + token * stride, line, channel);
            for (i64 part = 0; part < count; ++part, ++channel) {
                if (channel == p.channels) channel = 0, ++line;
                if (line >= end) {  // and never goes back
                    i64 column;
                    close_row(fetch, opened);
                    by_columns.split(line, opened, column);
                    end = (opened + 1) * p.columns;
                }
                ++in_row[channel];
            }
        }
        close_row(fetch, opened);
    }

    // Queue what was counted in the same row of all channels.
    void close_row(Fetch& fetch, i64 opened) {
        i64 bank, row;
        by_banks.split(opened, row, bank);
        for (size_t channel = 0; channel < channels.size(); ++channel)
            if (in_row[channel]) {
                fetch.queues[channel].push_back({int32_t(bank), int32_t(row), in_row[channel]});
                in_row[channel] = 0;
            }
    }

    static void by_age(std::vector<Fetch*>& fetches, Fetch* fetch) {
        auto place = fetches.end();
        while (place != fetches.begin() && fetch->older_than(**(place - 1))) --place;
        fetches.insert(place, fetch);
    }

    void post(Fetch* fetch) {
        if (!p.ideal && fetch->missing == 0) {  // its data came with the other head of a pair
            fetch->ready = fetch->posted + p.address_cycles + p.data_cycles;
            return;
        }
        by_age(active, fetch);
        if (p.ideal) return;
        for (size_t channel = 0; channel < channels.size(); ++channel)
            if (!fetch->queues[channel].empty()) {
                by_age(pending[channel], fetch);
                look_at[channel] = std::min(look_at[channel], fetch->posted);
            }
    }

    void remove(Fetch* fetch) { active.erase(std::find(active.begin(), active.end(), fetch)); }

    // Cycles from here in which no answer to a fetch can be asked for: its last transaction is read no sooner, and its
    // data come later.
    i64 safe_cycles() const {
        if (p.ideal) return 1;
        i64 soonest = NEVER;
        for (const Fetch* it : active) soonest = std::min(soonest, (it->missing - 1) / p.channels * p.burst + it->quiet);
        return soonest + p.cl + p.burst + p.data_cycles;
    }

    // Go through all cycles from `from` up to, without, `to`; the first cycle in which a fetch is ready, or NEVER.
    i64 advance(i64 from, i64 to) {
        return p.ideal ? advance_ideal(from) : advance_channels(from, to);
    }

    i64 advance_ideal(i64 cycle) {
        busy += !active.empty();
        i64 room = 8 * p.channels * p.transaction_bytes, ready = NEVER;
        while (room > 0 && !active.empty()) {
            Fetch* fetch = active.front();
            const i64 taken = std::min(room, fetch->bits_left);
            room -= taken;
            fetch->bits_left -= taken;
            if (fetch->bits_left > 0) break;
            ready = fetch->ready = cycle + 1;
            remove(fetch);
        }
        return ready;
    }

    i64 advance_channels(i64 from, i64 to) {
        const bool was_active = !active.empty();
        i64 ready = NEVER, last_read = from - 1;
        for (i64 number = 0; number < p.channels; ++number) {
            Channel& channel = channels[number];
            const i64 own_turn = number % p.pseudo_channels;
            i64 cycle = look_at[number];
            while (cycle < to) {
                i64 rounds, turn;
                by_turns.split(cycle, rounds, turn);
                if (own_turn == turn && !pending[number].empty() && channel.has_room()) hand_over(cycle, number);
                Fetch* fetch = channel.tick(cycle);
                const i64 more = go_on(number, cycle, to, fetch != nullptr);
                if (fetch) {
                    fetch->missing -= 1 + more;
                    fetch->last = std::max(fetch->last, channel.bus_free);
                    if (fetch->missing == 0) {
                        fetch->ready = fetch->last + p.data_cycles;
                        ready = std::min(ready, fetch->ready);
                        last_read = std::max(last_read, fetch->last - p.cl - p.burst);
                        remove(fetch);
                    }
                }
                const i64 now = cycle;
                cycle = channel.wake;
                if (!pending[number].empty() && channel.has_room()) {
                    cycle = std::min(cycle, turn_after(now, own_turn));
                }
                look_at[number] = cycle;
            }
        }
        if (was_active) busy += (active.empty() ? last_read + 1 : to) - from;
        return ready;
    }

    i64 turn_after(i64 cycle, i64 own_turn) const {
        i64 rounds, turn;
        by_turns.split(cycle, rounds, turn);
        return cycle + own_turn - turn + (own_turn > turn ? 0 : p.pseudo_channels);
    }

    void hand_over(i64 cycle, i64 number) {
        std::vector<Fetch*>& waiting = pending[number];
        for (Fetch* fetch : waiting) {
            if (fetch->posted + p.address_cycles > cycle) continue;
            channels[number].accept(fetch->queues[number][fetch->heads[number]], fetch, cycle);
            handed_over(fetch, number, 1);
            return;
        }
    }

    void handed_over(Fetch* fetch, i64 number, i64 how_many) {
        size_t& head = fetch->heads[number];
        Place& place = fetch->queues[number][head];
        place.left -= int32_t(how_many);
        if (place.left == 0 && ++head == fetch->queues[number].size())
            pending[number].erase(std::find(pending[number].begin(), pending[number].end(), fetch));
    }

    // Read on in the run just read, if one was, and hand over what belongs to the last run, as long as nothing else can
    // happen before `to`: a matter of counting. Goes on to the last cycle in which there was anything; the number of reads.
    i64 go_on(i64 number, i64& cycle, i64 to, bool was_read) {
        Channel& channel = channels[number];
        Queue& queue = channel.queue;
        const i64 apart_anywhere = std::max(p.burst, p.ccd_short), apart = std::max(apart_anywhere, p.ccd_long);
        const int index = was_read ? channel.reading : -1;
        if (queue.size == 0 || (apart > apart_anywhere && queue.runs.size() > 1)) return 0;
        i64 end = std::min(to, index < 0 ? channel.wake : channel.undisturbed_until(cycle));
        if (end <= cycle + 1) return 0;
        Fetch* source = nullptr;
        for (Fetch* it : pending[number]) {
            if (it->posted + p.address_cycles <= cycle) {
                source = it;
                break;
            }
            end = std::min(end, it->posted + p.address_cycles);
        }
        i64 left = 0;
        if (source) {
            const Place& place = source->queues[number][source->heads[number]];
            if (queue.runs.back().takes(place, source)) left = place.left;
        }
        const bool is_last = size_t(index) + 1 == queue.runs.size();
        i64 reads = 0, handed = 0, unread = index < 0 ? 0 : queue.runs[index].count, room = p.queue_depth - queue.size;
        i64 read_at = index < 0 ? end : cycle + apart, turn_at = source ? turn_after(cycle, number % p.pseudo_channels) : NEVER;
        while (true) {
            if (room > 0 && turn_at <= read_at) {
                if (turn_at >= end || handed == left) break;
                ++handed;
                --room;
                unread += is_last;
                cycle = turn_at;
                turn_at += p.pseudo_channels;
            } else {
                if (read_at >= end) break;
                ++reads;
                ++room;
                cycle = read_at;
                while (turn_at <= read_at) turn_at += p.pseudo_channels;  // turns in which there was no room
                read_at += apart;
                if (--unread == 0) break;
            }
        }
        if (handed) {
            Run& last = queue.runs.back();
            Bank& bank = channel.banks[last.bank];
            bank.waiting += int32_t(handed);
            if (bank.row == last.row) bank.hits += int32_t(handed);
            last.count += int32_t(handed);
            queue.size += handed;
            handed_over(source, number, handed);
        }
        if (reads) channel.read(index, reads, read_at - apart);
        if (index >= 0) channel.look_again(cycle);
        return reads;
    }
};

// --- the pipeline ----------------------------------------------------------------------------------------------------

struct Query {
    i64 row, number;
    bool is_replay = false;
    i64 sum_known = 0, divided_from = -1, probabilities = 0, chosen = -1;
};

struct Buffers {  // of rows; when each is free again
    std::vector<std::pair<i64, i64>> owners;
    bool take(i64 row, i64 how_many, i64 cycle) {
        size_t kept = 0;
        for (const auto& it : owners)
            if (it.second > cycle) owners[kept++] = it;
        owners.resize(kept);
        if (i64(kept) >= how_many) return false;
        owners.push_back({row, NEVER});
        return true;
    }
    void free_at(i64 row, i64 cycle) {
        for (auto& it : owners)
            if (it.first == row) it.second = cycle;
    }
};

struct Engine {
    const Parameters& p;
    const Row* rows;
    i64 num_rows;
    i64* times;
    i64 counts[COUNTS] = {};
    Memory memory;
    std::vector<Fetch> pool;
    std::vector<Fetch*> by_what[3];
    std::vector<Fetch*> idle;
    i64 cycle = 0, memory_at = 0;  // the memory may be ahead of the pipeline, as far as nothing is asked for meanwhile
    bool was_late = false;
    i64 next_keys = 0, next_values = 0, next_row = 0, next_number = 0;
    bool replaying = false;
    Query replay{0, 0};
    Buffers key_buffers, value_buffers;
    i64 multipliers_free = 0, divider_free = 0, topk_free = 0, products_free = 0;
    std::deque<Query> in_softmax, before_topk, chosen;
    std::deque<i64> lists;        // when each list of chosen values is free again, NEVER while it is not known
    std::deque<std::pair<i64, i64>> entering_topk;  // until when probabilities wait, and how many
    i64 waiting_probabilities = 0, undecided = 0;
    i64 open_stretch = 0, tokens_chosen = 0;  // of the last stretch that has any
    std::vector<i64> tokens, kept;
    i64 kept_of[3] = {-1, -1, -1};
    i64 stuck_words = 0;  // of a query that waits for room in the FIFO

    Engine(const Parameters& parameters, const Row* all, i64 how_many, i64* result)
        : p(parameters), rows(all), num_rows(how_many), times(result), memory(parameters) {
        pool.resize(4 * (p.key_buffers + p.value_buffers) + 8);
        for (Fetch& it : pool) {
            it.queues.resize(p.channels);
            it.heads.resize(p.channels);
            idle.push_back(&it);
        }
        std::fill(times, times + num_rows * TIMES, i64(-1));
    }

    i64& time_of(i64 row, Time what) { return times[row * TIMES + what]; }

    Fetch* find(i64 row, int what) {
        for (Fetch* it : by_what[what])
            if (it->row == row) return it;
        return nullptr;
    }
    bool is_there(i64 row, int what) {
        const Fetch* fetch = find(row, what);
        return fetch != nullptr && fetch->ready <= cycle;
    }
    void forget(i64 row, int what) {
        if (Fetch* fetch = find(row, what)) {
            by_what[what].erase(std::find(by_what[what].begin(), by_what[what].end(), fetch));
            idle.push_back(fetch);
        }
    }

    const std::vector<i64>& keys_of(i64 row) {
        const Row& it = rows[row];
        if (kept_of[0] != it.key_seed || kept_of[1] != it.tokens || kept_of[2] != it.keys) {
            surviving(it.key_seed, it.tokens, it.keys, kept);
            kept_of[0] = it.key_seed, kept_of[1] = it.tokens, kept_of[2] = it.keys;
        }
        return kept;
    }

    Fetch* begin_fetch(i64 row, int what) {
        Fetch* fetch = idle.back();
        idle.pop_back();
        for (auto& queue : fetch->queues) queue.clear();
        std::fill(fetch->heads.begin(), fetch->heads.end(), 0);
        fetch->row = row, fetch->what = what, fetch->posted = cycle, fetch->ready = NEVER;
        fetch->missing = fetch->last = fetch->bits_left = 0;
        fetch->quiet = what == VALUES ? rows[row].prob_value_cycles : rows[row].softmax_words;
        if (what == VALUES && row + 1 == num_rows) fetch->quiet = 0;  // behind it all ends, and the memory with it
        return fetch;
    }
    void add_plane(Fetch* fetch, int plane, const std::vector<i64>& which) {
        const Row& it = rows[fetch->row];
        memory.add(*fetch, it.start[plane], it.stride[plane], it.count[plane], which);
        fetch->bits_left += i64(which.size()) * it.bits[plane] * p.burst;
    }
    void post(Fetch* fetch) {
        by_what[fetch->what].push_back(fetch);
        was_late |= cycle < memory_at;
        memory.post(fetch);
    }

    bool has_begun(i64 row) {
        if (rows[row].barrier == open_stretch) return true;
        const i64 last = time_of(row - 1, FINISHED);
        if (rows[row - 1].barrier == rows[row].barrier || last < 0 || last > cycle || tokens_chosen > cycle) return false;
        open_stretch = rows[row].barrier;
        tokens_chosen = 0;
        return true;
    }

    bool ask_for_keys() {
        const i64 row = next_keys;
        if (row >= num_rows || !has_begun(row) || !key_buffers.take(row, p.key_buffers, cycle)) return false;
        Fetch* fetch = begin_fetch(row, KEYS);
        const std::vector<i64>& which = keys_of(row);
        add_plane(fetch, 0, which);
        if (rows[row].second_plane == WITH_KEYS) add_plane(fetch, 1, which);
        post(fetch);
        time_of(row, KEYS_ASKED) = cycle;
        ++next_keys;
        return true;
    }

    bool ask_for_values() {
        const i64 row = next_values;
        if (row >= next_keys) return false;
        const i64 known = time_of(row, CHOSEN);
        if (!rows[row].values_at_once && (known < 0 || known > cycle)) return false;
        if (!value_buffers.take(row, p.value_buffers, cycle)) return false;
        Fetch* fetch = begin_fetch(row, VALUES);
        const std::vector<i64>& keys = keys_of(row);
        surviving(row, i64(keys.size()), rows[row].fetched_values, tokens);
        for (i64& it : tokens) it = keys[it];
        add_plane(fetch, 2, tokens);
        post(fetch);
        time_of(row, VALUES_ASKED) = cycle;
        ++next_values;
        return true;
    }

    bool fifo_has_room(i64 words, i64 when) const {
        const i64 arrival = when + p.arrival_latency;
        i64 waiting = 0, leaving = 0;
        for (const Query& it : in_softmax) {
            const i64 size = rows[it.row].softmax_words;
            if (it.divided_from < 0 || it.divided_from > arrival)
                waiting += size;
            else
                leaving += std::max<i64>(0, size - (arrival - it.divided_from));
        }
        return waiting + std::max(words, leaving) <= p.fifo_depth;
    }

    // The first cycle from here in which it has room, if nothing else comes: what waits never grows, so by halving.
    i64 fifo_room_from(i64 words) const {
        i64 before = cycle, when = cycle + 1;
        for (const Query& it : in_softmax)
            if (it.divided_from >= 0) when = std::max(when, it.divided_from + rows[it.row].softmax_words);
        if (!fifo_has_room(words, when)) return NEVER;
        while (when - before > 1) {
            const i64 middle = before + (when - before) / 2;
            (fifo_has_room(words, middle) ? when : before) = middle;
        }
        return when;
    }

    bool multiply_keys() {
        Query query = replaying ? replay : Query{next_row, next_number};
        if (query.row >= num_rows || multipliers_free > cycle) return false;
        const Row& row = rows[query.row];
        if (!is_there(query.row, query.is_replay ? SECOND_KEYS : KEYS)) return false;
        if (undecided > 0 && !row.decides) return false;
        if (!fifo_has_room(row.softmax_words, cycle)) {
            stuck_words = row.softmax_words;
            return false;
        }
        multipliers_free = cycle + row.query_key_cycles;
        query.sum_known = cycle + p.query_key_latency + row.softmax_words + p.first_latency;
        counts[QUERY_KEY] += row.query_key_cycles;
        counts[SOFTMAX] += row.softmax_words;
        undecided += row.decides && !query.is_replay;
        in_softmax.push_back(query);
        const bool is_last = query.number + 1 == row.queries;
        if (query.number == 0) time_of(query.row, FIRST_SCORE) = cycle;
        if (is_last && (query.is_replay || !row.decides)) key_buffers.free_at(query.row, multipliers_free);
        replaying = false;
        next_row = is_last ? query.row + 1 : query.row;
        next_number = is_last ? 0 : query.number + 1;
        return true;
    }

    bool divide() {
        while (!entering_topk.empty() && entering_topk.front().first <= cycle) {
            waiting_probabilities -= entering_topk.front().second;
            entering_topk.pop_front();
        }
        for (Query& query : in_softmax) {
            if (query.divided_from >= 0) continue;
            const Row& row = rows[query.row];
            if (waiting_probabilities + row.keys > p.buffered_rows * p.topk_capacity) return false;
            waiting_probabilities += row.keys;
            query.divided_from = std::max({query.sum_known, divider_free, cycle});
            divider_free = query.divided_from + row.softmax_words;
            query.probabilities = query.divided_from + row.softmax_words + p.second_latency;
            return true;
        }
        return false;
    }

    bool leave_softmax() {
        if (in_softmax.empty() || in_softmax.front().divided_from < 0 || in_softmax.front().probabilities > cycle)
            return false;
        const Query query = in_softmax.front();
        const Row& row = rows[query.row];
        if (row.second_plane == WHEN_FLAT && !query.is_replay) {
            start_again(query);
            return true;
        }
        in_softmax.pop_front();
        if (row.decides && !query.is_replay) {
            key_buffers.free_at(query.row, cycle);
            --undecided;
        }
        before_topk.push_back(query);
        if (query.number + 1 == row.queries) {
            time_of(query.row, PROBABILITIES) = cycle;
            const i64 latency = row.token_topk_cycles ? p.importance_latency : 0;
            tokens_chosen = std::max(tokens_chosen, cycle + latency + row.token_topk_cycles);
            counts[TOKENS] += row.token_topk_cycles;
        }
        return true;
    }

    void start_again(const Query& query) {
        for (const Query& it : in_softmax)
            if (it.divided_from >= 0) waiting_probabilities -= rows[it.row].keys;
        in_softmax.clear();
        undecided = 0;
        multipliers_free = divider_free = cycle;
        replaying = true;
        replay = Query{query.row, query.number, true};
        Fetch* fetch = begin_fetch(query.row, SECOND_KEYS);
        add_plane(fetch, 1, keys_of(query.row));
        post(fetch);
    }

    bool choose_values() {
        while (!lists.empty() && lists.front() <= cycle) lists.pop_front();
        if (before_topk.empty() || topk_free > cycle || i64(lists.size()) >= p.buffered_rows) return false;
        Query query = before_topk.front();
        before_topk.pop_front();
        const Row& row = rows[query.row];
        topk_free = query.chosen = cycle + row.topk_cycles;
        counts[TOPK] += row.topk_cycles;
        entering_topk.push_back({query.chosen, row.keys});
        lists.push_back(NEVER);
        chosen.push_back(query);
        if (query.number + 1 == row.queries) time_of(query.row, CHOSEN) = query.chosen;
        return true;
    }

    bool multiply_values() {
        if (chosen.empty() || products_free > cycle) return false;
        const Query query = chosen.front();
        const Row& row = rows[query.row];
        if (query.chosen > cycle || !is_there(query.row, VALUES)) return false;
        chosen.pop_front();
        products_free = cycle + row.prob_value_cycles;
        for (i64& it : lists)
            if (it == NEVER) {
                it = products_free;
                break;
            }
        counts[PROB_VALUE] += row.prob_value_cycles;
        if (query.number + 1 == row.queries) {
            time_of(query.row, KEYS_THERE) = find(query.row, KEYS)->ready;
            time_of(query.row, VALUES_THERE) = find(query.row, VALUES)->ready;
            forget(query.row, KEYS);
            forget(query.row, SECOND_KEYS);
            forget(query.row, VALUES);
            value_buffers.free_at(query.row, products_free);
            time_of(query.row, LAST_PRODUCT) = cycle;
            time_of(query.row, FINISHED) = products_free + p.prob_value_latency;
        }
        return true;
    }

    // The next cycle in which an agent could move, if the memory brings nothing before.
    i64 next_event() const {
        i64 next = NEVER;
        const auto consider = [&](i64 time) {
            if (time > cycle) next = std::min(next, time);
        };
        if (stuck_words) consider(fifo_room_from(stuck_words));
        consider(multipliers_free);
        consider(topk_free);
        consider(products_free);
        if (!in_softmax.empty() && in_softmax.front().divided_from >= 0) consider(in_softmax.front().probabilities);
        if (!chosen.empty()) consider(chosen.front().chosen);
        if (!entering_topk.empty()) consider(entering_topk.front().first);
        if (!lists.empty()) consider(lists.front());
        if (next_values < next_keys) consider(times[next_values * TIMES + CHOSEN]);
        if (next_keys > 0) consider(times[(next_keys - 1) * TIMES + FINISHED]);
        consider(tokens_chosen);
        for (const Buffers* buffers : {&key_buffers, &value_buffers})
            for (const auto& it : buffers->owners) consider(it.second);
        for (const auto& fetches : by_what)
            for (const Fetch* it : fetches) consider(it->ready);
        return next;
    }

    bool run() {
        i64 look_at = 0;
        while (true) {
            if (cycle >= look_at) {
                bool moved = true;
                while (moved) {
                    stuck_words = 0;
                    moved = multiply_values();
                    moved |= choose_values();
                    moved |= leave_softmax();
                    moved |= divide();
                    moved |= multiply_keys();
                    moved |= ask_for_values();
                    moved |= ask_for_keys();
                }
                if (time_of(num_rows - 1, FINISHED) >= 0) break;
                look_at = next_event();
            }
            if (look_at > memory_at) {
                const i64 to = memory.active.empty() ? look_at : std::min(look_at, memory_at + memory.safe_cycles());
                if (to == NEVER || was_late) return false;
                look_at = std::min(look_at, memory.advance(memory_at, to));
                memory_at = to;
            }
            cycle = std::min(look_at, memory_at);
        }
        counts[HBM] = memory.busy;
        counts[TRANSACTIONS] = memory.transactions;
        for (const Channel& it : memory.channels) counts[ACTIVATES] += it.activates, counts[REFRESHES] += it.refreshes;
        return true;
    }
};

}  // namespace

// Run all rows; 0 when they are finished, 1 when they never would be.
extern "C" int spatten_engine(const i64* parameters, const i64* rows, i64 num_rows, i64* times, i64* counts) {
    Parameters p;
    std::memcpy(&p, parameters, sizeof p);
    Engine engine(p, reinterpret_cast<const Row*>(rows), num_rows, times);
    if (!engine.run()) return 1;
    std::memcpy(counts, engine.counts, sizeof engine.counts);
    return 0;
}

extern "C" i64 spatten_engine_sizes(int which) {
    return which == 0 ? i64(sizeof(Parameters) / sizeof(i64)) : which == 1 ? i64(sizeof(Row) / sizeof(i64)) : which == 2 ? TIMES : COUNTS;
}
