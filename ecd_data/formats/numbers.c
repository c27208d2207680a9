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
#define PLANES 16 /* usually turned at a time: two lines of the cache */
#define TILE 32   /* rows of the grid written at a time: each lies on a page of its own */

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
    if (!nearest(digits, (down ? -exponent : exponent) - 11, powers, lowest, highest, value)) return 0;
    *value *= SIGNS[minus];
    return 1;
#else
    (void)text, (void)powers, (void)lowest, (void)highest, (void)value;
    return 0; /* the general way takes twice as long */
#endif
}

/* Up to `count` numbers of `size` bytes of text into `values`; returns how many. Only words that a blank follows are
   taken. state: how far it came; how many words are left to the caller; the number and place of each of these. room:
   of these at most. */
int64_t parse_numbers_v3(const char *text, int64_t size, int64_t count, double *values, const uint64_t *powers,
                         int64_t lowest, int64_t highest, int64_t *state, int64_t room) {
    int64_t n = 0, odds = 0;
    while (size > 0 && !is_blank(text[size - 1])) size--; /* so that every word ends before the text does */
    const char *p = text, *const end = text + size;
    for (; n < count; n++) {
        while (p < end && is_blank(*p)) p++;
        if (p == end) break;
        const char *const word = p;
        const int minus = *p == '-';
        uint64_t digits = 0;
        int64_t power = 0, length = 0;
        double value;
        if (end - p > 17 && vasp_number(p, powers, lowest, highest, values + n)) {
            p += 18; /* with the blank */
            continue;
        }
        p += minus | (*p == '+');
        const char *first = p;
        digits = 0;
        for (; is_digit(*p); p++) digits = 10 * digits + (uint64_t)(*p - '0');
        length = p - first;
        power = 0;
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
        uint32_t mark = 0;
        if (end - p > 4) memcpy(&mark, p, 4);
        mark ^= 0x30302B45u; /* E+00 */
        if (!((mark | ((mark + 0x06060000u) & 0xF0F00000u)) & 0xF0F0F9FFu) && (mark >> 9 & 1) == (mark >> 10 & 1)) {
            const int64_t exponent = (mark >> 16 & 15) * 10 + (mark >> 24);
            power += mark >> 9 & 1 ? -exponent : exponent;
            p += 4;
        } else if (*p == 'E' || *p == 'e') {
            const int down = *++p == '-';
            int64_t exponent = 0;
            p += down | (*p == '+');
            for (first = p; is_digit(*p) && p < first + 4; p++) exponent = 10 * exponent + (*p - '0');
            if (p == first) length = 0;
            power += down ? -exponent : exponent;
        }
        if (is_blank(*p) && length > 0 && length <= 19 && nearest(digits, power, powers, lowest, highest, &value)) {
            values[n] = SIGNS[minus] * value;
            p++;
            continue;
        }
        if (odds == room) {
            p = word;
            break;
        }
        state[2 + 2 * odds] = n;
        state[3 + 2 * odds++] = word - text;
        while (!is_blank(*p)) p++;
    }
    while (p > text && is_blank(p[-1])) p--;
    state[0] = p - text;
    state[1] = odds;
    return n;
}

static inline void turned(const double *planes, int64_t count, int64_t a, int64_t b, int64_t c, double divisor,
                          double *grid) {
    for (int64_t first = 0; first < a; first += TILE)
        for (int64_t j = 0; j < b; j++)
            for (int64_t i = first; i < a && i < first + TILE; i++)
                for (int64_t k = 0; k < count; k++)
                    grid[(i * b + j) * c + k] = planes[(k * b + j) * a + i] / divisor;
}

/* `count` planes of a text's grid, its first axis fastest, divided, as grid[:, :, :count] of a grid [a, b, c]. */
void turn_planes_v3(const double *planes, int64_t count, int64_t a, int64_t b, int64_t c, double divisor,
                    double *grid) {
    for (; count >= PLANES; count -= PLANES, planes += PLANES * a * b, grid += PLANES)
        turned(planes, PLANES, a, b, c, divisor, grid);
    for (; count >= 4; count -= 4, planes += 4 * a * b, grid += 4) turned(planes, 4, a, b, c, divisor, grid);
    if (count > 0) turned(planes, count, a, b, c, divisor, grid);
}
