// The fast engine: what reference.py does, with the same rules, compiled.
//
// Two things make it fast. Time leaps to the next cycle in which an agent could move; and meanwhile one pseudo-channel after
// the other goes its way up to there, each asked only in cycles in which it could say something. That is safe as far as no
// fetch can be complete, and data that were read arrive a known time later. Every rule is that of the reference, agent by
// agent and in the same order, so that both agree in every cycle.

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
    std::vector<std::vector<Place>> queues;  // by pseudo-channel
    std::vector<size_t> heads;
    bool older_than(const Fetch& other) const { return row != other.row ? row < other.row : what < other.what; }
};

struct Waiting {
    int32_t bank, row;
    Fetch* fetch;
};

struct Bank {
    i64 may_activate = 0, may_precharge = 0, may_read = 0;
    int32_t row = -1;          // -1: closed
    int32_t waiting = 0, hits = 0;  // requests for it in the queue, and those for its open row
    bool needy() const { return waiting > 0 && hits == 0; }
};

struct Queue {  // oldest first; taking the oldest moves nothing
    std::vector<Waiting> all;
    size_t head = 0;
    const Waiting* begin() const { return all.data() + head; }
    const Waiting* end() const { return all.data() + all.size(); }
    size_t size() const { return all.size() - head; }
    const Waiting& operator[](size_t index) const { return all[head + index]; }
    void push(const Waiting& it) {
        if (head >= 256) {
            all.erase(all.begin(), all.begin() + head);
            head = 0;
        }
        all.push_back(it);
    }
    void remove(size_t index) {
        for (size_t it = head + index; it > head; --it) all[it] = all[it - 1];
        ++head;
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

    bool has_room() const { return i64(queue.size()) < p->queue_depth; }

    void accept(const Place& place, Fetch* fetch, i64 cycle) {
        Bank& bank = banks[place.bank];
        const bool was_needy = bank.needy();
        ++bank.waiting;
        if (bank.row == place.row) ++bank.hits;
        needy += bank.needy() - was_needy;
        if (bank.needy() != was_needy) wish_at = 0;  // another request for a bank that is needy already changes no wish
        queue.push({place.bank, place.row, fetch});
        wake = std::min(wake, cycle);
    }

    i64 read_time(const Waiting& it) const {
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
    Fetch* tick(i64 cycle, i64& done) {
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
        if (queue.size() == 0) {
            wake = refresh_due;
            return nullptr;
        }
        const i64 earliest = next_read();
        int index = -1;
        i64 next = NEVER;
        if (earliest <= cycle) {
            for (size_t it = 0; it < queue.size(); ++it) {
                const i64 time = read_time(queue[it]);
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
            for (const Waiting& it : queue) {
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
        Fetch* read = nullptr;
        if (index >= 0) {
            read = queue[index].fetch;
            Bank& bank = banks[queue[index].bank];
            needy -= bank.needy();
            --bank.waiting;
            --bank.hits;
            if (bank.needy()) ++needy, wish_at = 0;
            last_read[group_of[queue[index].bank]] = last_read_of_any = cycle;
            bus_free = done = cycle + p->cl + p->burst;
            queue.remove(index);
        }
        if (wished >= 0) obey(cycle, wished, wished_row);
        if (index < 0 && wished < 0)
            wake = std::min(next, refresh_due);
        else  // the next read, of any bank at best, or the next wish
            wake = std::min({refresh_due, queue.size() ? std::max(cycle + 1, next_read()) : NEVER,
                             needy ? std::max(cycle + 1, wish_at) : NEVER});
        return read;
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
            for (const Waiting& it : queue) bank.hits += it.bank == number && it.row == row;
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
    std::vector<i64> look_at;  // by pseudo-channel, the first cycle in which it could do anything
    i64 busy = 0, transactions = 0;

    explicit Memory(const Parameters& parameters)
        : p(parameters), channels(parameters.channels), pending(parameters.channels),
          by_channels(parameters.channels), by_columns(parameters.columns), by_banks(parameters.banks), by_turns(parameters.pseudo_channels) {
        for (Channel& it : channels) it.init(p);
        look_at.assign(p.channels, 0);
    }

    void add(Fetch& fetch, i64 start, i64 stride, i64 count, const std::vector<i64>& tokens) {
        transactions += count * i64(tokens.size());
        fetch.missing += count * i64(tokens.size());
        if (p.ideal) return;
        i64 rest, channel, column, bank, row;
        for (i64 token : tokens)
            for (i64 part = 0; part < count; ++part) {
                by_channels.split(start + token * stride + part, rest, channel);
                by_columns.split(rest, rest, column);
                by_banks.split(rest, row, bank);
                std::vector<Place>& queue = fetch.queues[channel];
                if (queue.empty() || queue.back().bank != bank || queue.back().row != row)
                    queue.push_back({int32_t(bank), int32_t(row), 0});
                ++queue.back().left;
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

    // Cycles from here in which no fetch can be ready: its last transaction is read no sooner, and its data come later.
    i64 safe_cycles() const {
        if (p.ideal) return 1;
        i64 soonest = NEVER;
        for (const Fetch* it : active) soonest = std::min(soonest, (it->missing - 1) / p.channels * p.burst);
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
                i64 done = 0;
                if (Fetch* fetch = channel.tick(cycle, done)) {
                    fetch->last = std::max(fetch->last, done);
                    if (--fetch->missing == 0) {
                        fetch->ready = fetch->last + p.data_cycles;
                        ready = std::min(ready, fetch->ready);
                        last_read = std::max(last_read, fetch->last - p.cl - p.burst);
                        remove(fetch);
                    }
                }
                cycle = channel.wake;
                if (!pending[number].empty() && channel.has_room()) {
                    const i64 wait = own_turn > turn ? own_turn - turn : own_turn - turn + p.pseudo_channels;
                    cycle = std::min(cycle, look_at[number] + wait);
                }
                look_at[number] = cycle;
            }
        }
        if (was_active) busy += (active.empty() ? last_read + 1 : to) - from;
        return ready;
    }

    void hand_over(i64 cycle, i64 number) {
        std::vector<Fetch*>& waiting = pending[number];
        for (size_t it = 0; it < waiting.size(); ++it) {
            Fetch* fetch = waiting[it];
            if (fetch->posted + p.address_cycles > cycle) continue;
            size_t& head = fetch->heads[number];
            Place& place = fetch->queues[number][head];
            channels[number].accept(place, fetch, cycle);
            if (--place.left == 0 && ++head == fetch->queues[number].size()) waiting.erase(waiting.begin() + it);
            return;
        }
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
    i64 cycle = 0;
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
    bool is_stuck_at_fifo = false;

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
        return fetch;
    }
    void add_plane(Fetch* fetch, int plane, const std::vector<i64>& which) {
        const Row& it = rows[fetch->row];
        memory.add(*fetch, it.start[plane], it.stride[plane], it.count[plane], which);
        fetch->bits_left += i64(which.size()) * it.bits[plane] * p.burst;
    }
    void post(Fetch* fetch) {
        by_what[fetch->what].push_back(fetch);
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

    bool fifo_has_room(i64 words) const {
        const i64 arrival = cycle + p.arrival_latency;
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

    bool multiply_keys() {
        Query query = replaying ? replay : Query{next_row, next_number};
        if (query.row >= num_rows || multipliers_free > cycle) return false;
        const Row& row = rows[query.row];
        if (!is_there(query.row, query.is_replay ? SECOND_KEYS : KEYS)) return false;
        if (undecided > 0 && !row.decides) return false;
        if (!fifo_has_room(row.softmax_words)) {
            is_stuck_at_fifo = true;
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
        if (is_stuck_at_fifo) return cycle + 1;
        i64 next = NEVER;
        const auto consider = [&](i64 time) {
            if (time > cycle) next = std::min(next, time);
        };
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
                is_stuck_at_fifo = false;
                bool moved = true;
                while (moved) {
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
            const i64 to = memory.active.empty() ? look_at : std::min(look_at, cycle + memory.safe_cycles());
            if (to == NEVER) return false;
            look_at = std::min(look_at, memory.advance(cycle, to));
            cycle = to;
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
