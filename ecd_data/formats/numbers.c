/* Numbers of a text as doubles, each the one nearest to it, and grids whose first axis runs fastest turned around.

   Built where there is a C compiler and called by numbers.py, which does without it otherwise. For little-endian
   machines. Names end in a version: a library of another one is not used. */

#include <stdint.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

typedef unsigned __int128 wide;

#define ZEROS 0x3030303030303030u
#define HIGH_HALVES 0xF0F0F0F0F0F0F0F0u
#define SIXES 0x0606060606060606u
#define LINE 8  /* planes turned at a time: doubles in a line of the cache */
#define TILE 32 /* rows of the grid written at a time: each lies on a page of its own */

static const double TENS[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                              1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

static const double SIGNS[] = {1.0, -1.0}; /* no branch: signs can be as random as noise */

static inline int is_blank(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

static inline int is_digit(char c) { return (unsigned char)(c - '0') < 10; }

static inline uint64_t load(const char *text) {
    uint64_t bytes;
    memcpy(&bytes, text, 8);
    return bytes;
}

/* Zero where all eight bytes, the zeros taken off, are 0..9. */
static inline uint64_t no_digits(uint64_t eight) { return (eight | (eight + SIXES)) & HIGH_HALVES; }

/* The number of eight digits 0..9, the first in the lowest byte: neighbours become pairs, fours and an eight. */
static inline uint64_t eight_digits(uint64_t eight) {
    const uint64_t pairs = eight * 10 + (eight >> 8), even = 0x000000FF000000FFu;
    return ((pairs & even) * (100 + (1000000ULL << 32)) + (pairs >> 16 & even) * (1 + (10000ULL << 32))) >> 32;
}

/* The double nearest to digits * 10^power; whether it was found. One correctly rounded division where both are exact,
   otherwise D. Lemire, Number parsing at a gigabyte per second, Softw. Pract. Exp. 51, 1700 (2021), which needs no
   further digits: N. Mushtak and D. Lemire, Fast number parsing without fallback, ibid. 53, 1467 (2023). powers: 128
   bits of 5^power for each power from lowest to highest, the low half first. */
static inline int nearest(uint64_t digits, int64_t power, const uint64_t *powers, int64_t lowest, int64_t highest,
                          double *value) {
    if (power <= 0 && power >= -22 && digits >> 53 == 0) {
        *value = (double)(int64_t)digits / TENS[-power];
        return 1;
    }
    *value = 0.0;
    if (digits == 0) return 1;
    if (power < lowest || power > highest) return 0;
    powers += 2 * (power - lowest);
    const int zeros = __builtin_clzll(digits);
    digits <<= zeros;
    const wide product = (wide)digits * powers[1];
    uint64_t high = (uint64_t)(product >> 64), low = (uint64_t)product;
    if ((high & 0x1FF) == 0x1FF) {
        const uint64_t more = (uint64_t)((wide)digits * powers[0] >> 64);
        low += more;
        high += low < more;
    }
    const int upper = (int)(high >> 63);
    uint64_t mantissa = high >> (upper + 9);
    const int64_t exponent = ((217706 * power) >> 16) + 63 + upper - zeros + 1023;
    if (exponent < 1 || exponent > 2045) return 0;
    if (low <= 1 && power >= -4 && power <= 23 && (mantissa & 3) == 1 && mantissa << (upper + 9) == high)
        mantissa &= ~1ULL; /* half way between two doubles: to the even one */
    mantissa = (mantissa + (mantissa & 1)) >> 1;
    const uint64_t bits = mantissa + ((uint64_t)(exponent - 1) << 52); /* the leading bit counts the exponent up */
    memcpy(value, &bits, 8);
    return 1;
}

/* Whether the 17 characters are VASP's 0.12345678901E+02 or -.12345678901E+02 with a blank behind it, whose number
   then is in `value`. Sixteen bytes at a time: digits to pairs, pairs to fours, and the exponent on the way. */
static inline int vasp_number(const char *text, const uint64_t *powers, int64_t lowest, int64_t highest,
                              double *value) {
#ifdef __SSE2__
    uint16_t head, mark;
    memcpy(&head, text, 2);
    memcpy(&mark, text + 13, 2);
    const int minus = head == 0x2E2D, down = mark == 0x2D45; /* "-." not "0.", "E-" not "E+" */
    if (!(down | (mark == 0x2B45))) return 0;
    const __m128i bytes = _mm_sub_epi8(_mm_loadu_si128((const __m128i *)(text + 1)), _mm_set1_epi8('0'));
    const __m128i are_digits = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(9)), bytes);
    if (!(((_mm_movemask_epi8(are_digits) & 0xCFFE) == 0xCFFE) & (minus | (head == 0x2E30)) & is_blank(text[17])))
        return 0;
    const __m128i tens = _mm_mullo_epi16(_mm_and_si128(bytes, _mm_set1_epi16(0xFF)),
                                         _mm_setr_epi16(0, 10, 10, 10, 10, 10, 0, 10));
    const __m128i pairs = _mm_add_epi16(tens, _mm_srli_epi16(bytes, 8));
    const __m128i fours = _mm_madd_epi16(pairs, _mm_setr_epi16(100, 1, 100, 1, 100, 1, 0, 1));
    const uint64_t high = (uint64_t)_mm_cvtsi128_si64(fours);
    const uint64_t low = (uint64_t)_mm_cvtsi128_si64(_mm_unpackhi_epi64(fours, fours));
    const uint64_t digits = (uint32_t)high * 100000000ULL + (high >> 32) * 10000 + (uint32_t)low;
    const int64_t exponent = (int64_t)(low >> 32);
    const uint64_t places = (uint64_t)(down ? 11 + exponent : 11 - exponent);
    double found;
    if (places <= 22) /* eleven digits and their divisor are exact */
        found = (double)(int64_t)digits / TENS[places];
    else if (!nearest(digits, -(int64_t)places, powers, lowest, highest, &found))
        return 0;
    *value = found * SIGNS[minus];
    return 1;
#else
    (void)text, (void)powers, (void)lowest, (void)highest, (void)value;
    return 0; /* the general way takes twice as long */
#endif
}

/* The exponent behind a mantissa, as E+02 or E-02, and whether it stands there. */
static inline int short_exponent(const char *text, int64_t *exponent) {
    uint32_t mark;
    memcpy(&mark, text, 4);
    mark ^= 0x30302B45u; /* E+00 */
    const uint32_t sign = mark & 0x0600; /* "-" differs from "+" in two bits */
    *exponent = (mark >> 16 & 15) * 10 + (mark >> 24);
    if (sign) *exponent = -*exponent;
    return ((mark | ((mark + 0x06060000u) & 0xF0F00000u)) & 0xF0F0F9FFu) == 0 && (sign == 0 || sign == 0x0600);
}

/* Whether the text begins with a number such as 1.1309E+03 with a blank behind it: a digit, a point, as many digits as
   `places` says, seven at most, and an exponent of two digits. Its value then is in `value`. */
static inline int short_number(const char *text, int64_t places, const uint64_t *powers, int64_t lowest,
                               int64_t highest, double *value) {
    const int bits = 56 - 8 * (int)places;
    const char *const mark = text + 2 + places;
    const uint64_t first = (unsigned char)*text ^ '0', eight = (load(text + 2) ^ ZEROS) << 8 << bits | first << bits;
    int64_t exponent;
    if (no_digits(eight) || text[1] != '.' || !short_exponent(mark, &exponent) || !is_blank(mark[4])) return 0;
    return nearest(eight_digits(eight), exponent - places, powers, lowest, highest, value);
}

/* Up to `count` numbers of `size` bytes of text, `start` bytes behind `text`, into `values`; returns how many. Only
   words that a blank follows are taken. state: how far it came; how many words are left to the caller; the number and
   place of each of these. room: of these at most. */
int64_t parse_numbers_v4(const char *text, int64_t start, int64_t size, int64_t count, double *values,
                         const uint64_t *powers, int64_t lowest, int64_t highest, int64_t *state, int64_t room) {
    text += start;
    int64_t n = 0, odds = 0, places = 0; /* places: of numbers in the short form, 0 where they are not */
    while (size > 0 && !is_blank(text[size - 1])) size--; /* so that every word ends before the text does */
    const char *p = text, *const end = text + size;
    while (n < count) {
        while (p < end && is_blank(*p)) p++;
        if (p == end) break;
        const int64_t before = n;
        while (places == 0 && n < count && end - p > 18 && vasp_number(p, powers, lowest, highest, values + n)) {
            n++;
            p += 18; /* with the blank */
            p += *p == ' '; /* of the next line */
        }
        if (n > before) continue;
        const char *const word = p;
        double value;
        const int minus = *p == '-';
        p += minus;
        if (places > 0 && end - p > 16 && short_number(p, places, powers, lowest, highest, &value)) {
            values[n++] = SIGNS[minus] * value;
            p += places + 6;
            continue;
        }
        p += !minus && *p == '+';
        const char *first = p;
        uint64_t digits = 0;
        for (; is_digit(*p); p++) digits = 10 * digits + (uint64_t)(*p - '0');
        int64_t length = p - first, power = 0, exponent;
        places = length == 1;
        if (*p == '.') {
            first = ++p;
            for (; end - p > 8 && !no_digits(load(p) ^ ZEROS); p += 8)
                digits = 100000000 * digits + eight_digits(load(p) ^ ZEROS);
            if (end - p > 4) {
                uint32_t four;
                memcpy(&four, p, 4);
                four ^= (uint32_t)ZEROS;
                if (!((four | (four + (uint32_t)SIXES)) & (uint32_t)HIGH_HALVES)) {
                    four = four * 10 + (four >> 8);
                    digits = 10000 * digits + (four & 0xFF) * 100 + (four >> 16 & 0xFF);
                    p += 4;
                }
            }
            for (; is_digit(*p); p++) digits = 10 * digits + (uint64_t)(*p - '0');
            power = first - p;
            length -= power;
        }
        places = places && -power < 8 ? -power : 0;
        if (end - p > 4 && short_exponent(p, &exponent)) {
            power += exponent;
            p += 4;
        } else if (*p == 'E' || *p == 'e') {
            const int down = *++p == '-';
            exponent = 0;
            p += down | (*p == '+');
            for (first = p; is_digit(*p) && p < first + 4; p++) exponent = 10 * exponent + (*p - '0');
            if (p == first) length = 0;
            power += down ? -exponent : exponent;
        }
        if (is_blank(*p) && length > 0 && length <= 19 && nearest(digits, power, powers, lowest, highest, &value)) {
            values[n++] = SIGNS[minus] * value;
            continue;
        }
        if (odds == room) {
            p = word;
            break;
        }
        state[2 + 2 * odds] = n++;
        state[3 + 2 * odds++] = word - text;
        while (!is_blank(*p)) p++;
    }
    while (p > text && is_blank(p[-1])) p--;
    state[0] = p - text;
    state[1] = odds;
    return n;
}

/* Two neighbours of a plane and of the one `next` numbers on, divided: each pair of planes to its own row. */
static inline void turn_pairs(const double *planes, int64_t next, double divisor, double *row, int64_t row_length) {
#ifdef __SSE2__
    const __m128d by = _mm_set1_pd(divisor);
    const __m128d one = _mm_div_pd(_mm_loadu_pd(planes), by), two = _mm_div_pd(_mm_loadu_pd(planes + next), by);
    _mm_storeu_pd(row, _mm_unpacklo_pd(one, two));
    _mm_storeu_pd(row + row_length, _mm_unpackhi_pd(one, two));
#else
    row[0] = planes[0] / divisor, row[1] = planes[next] / divisor;
    row[row_length] = planes[1] / divisor, row[row_length + 1] = planes[next + 1] / divisor;
#endif
}

/* `count` planes of a text's grid, its first axis fastest, divided, as grid[:, :, :count] of a grid [a, b, c]. */
void turn_planes_v4(const double *planes, int64_t count, int64_t a, int64_t b, int64_t c, double divisor,
                    double *grid) {
    const int64_t plane = a * b;
    for (int64_t first = 0; first < a; first += TILE) {
        const int64_t after = first + TILE < a ? first + TILE : a, even = after - ((after - first) & 1);
        for (int64_t k = 0; k < count; k += LINE) {
            const int64_t depth = k + LINE < count ? LINE : count - k, pairs = depth & ~(int64_t)1;
            for (int64_t j = 0; j < b; j++) {
                const double *const source = planes + k * plane + j * a;
                double *const target = grid + j * c + k;
                for (int64_t i = first; i < even; i += 2)
                    for (int64_t d = 0; d < pairs; d += 2)
                        turn_pairs(source + d * plane + i, plane, divisor, target + i * b * c + d, b * c);
                for (int64_t i = first; i < after; i++)
                    for (int64_t d = i < even ? pairs : 0; d < depth; d++)
                        target[i * b * c + d] = source[d * plane + i] / divisor;
            }
        }
    }
}
