/* An integer mix in the manner of CoreMark's four parts, our own: a linked list is searched and sorted, a matrix multiplied, numbers are recognised by a state machine, and a CRC holds it all together. */
#include "guest.h"

enum { NODES = 48, SIDE = 10, TEXT = 256 };

struct node { struct node *next; s16 value, key; };
static struct node nodes[NODES];
static s16 left[SIDE][SIDE], right[SIDE][SIDE];
static s32 product[SIDE][SIDE];
static u8 text[TEXT];

/* CRC-16/ARC, bit by bit */
static u16 crc(u16 sum, u32 value, int bits) {
  for (int i = 0; i < bits; i++, value >>= 1) {
    u32 odd = (sum ^ value) & 1;
    sum >>= 1;
    if (odd) sum ^= 0xa001;
  }
  return sum;
}

static struct node *make_list(u32 seed) {
  for (u32 i = 0; i < NODES; i++) {
    seed = seed * 1103515245 + 12345;
    nodes[i].value = (s16)(seed >> 16);
    nodes[i].key = (s16)i;
    nodes[i].next = i + 1 < NODES ? &nodes[i + 1] : 0;
  }
  return &nodes[0];
}

static const struct node *find(const struct node *list, s16 key) {
  while (list && list->key != key) list = list->next;
  return list;
}

static struct node *reverse(struct node *list) {
  struct node *done = 0;
  while (list) {
    struct node *next = list->next;
    list->next = done;
    done = list;
    list = next;
  }
  return done;
}

static int by_value(const struct node *a, const struct node *b) { return a->value - b->value; }
static int by_key(const struct node *a, const struct node *b) { return a->key - b->key; }

/* Merges runs that double in length, through a pointer to the comparison. */
static struct node *sort(struct node *list, int (*compare)(const struct node *, const struct node *)) {
  for (u32 run = 1;; run *= 2) {
    struct node *rest = list, *head = 0, **tail = &head;
    u32 merges = 0;
    while (rest) {
      struct node *a = rest, *b = rest;
      u32 in_a = 0, in_b = run;
      merges++;
      while (b && in_a < run) { b = b->next; in_a++; }
      while (in_a || (in_b && b)) {
        struct node *taken;
        if (in_a && (!in_b || !b || compare(a, b) <= 0)) { taken = a; a = a->next; in_a--; }
        else { taken = b; b = b->next; in_b--; }
        *tail = taken;
        tail = &taken->next;
      }
      rest = b;
    }
    *tail = 0;
    list = head;
    if (merges <= 1) return list;
  }
}

static u16 list_part(u32 seed, u16 sum) {
  struct node *list = make_list(seed);
  for (s16 key = 0; key < NODES; key += 5) sum = crc(sum, (u16)find(list, key)->value, 16);
  list = sort(reverse(list), by_value);
  sum = crc(sum, (u16)list->value, 16);
  list = sort(list, by_key);
  return crc(sum, (u16)list->next->value, 16);
}

static u16 matrix_part(u32 seed, u16 sum) {
  for (u32 i = 0; i < SIDE; i++) {
    for (u32 j = 0; j < SIDE; j++) {
      seed = seed * 1103515245 + 12345;
      left[i][j] = (s16)(seed >> 20);
      right[i][j] = (s16)(seed >> 12 & 255);
    }
  }
  s32 total = 0;
  for (u32 i = 0; i < SIDE; i++) {
    for (u32 j = 0; j < SIDE; j++) {
      s32 cell = 0;
      for (u32 inner = 0; inner < SIDE; inner++) cell += left[i][inner] * right[inner][j];
      product[i][j] = cell;
      total += cell > 0 ? cell >> 3 : -1;
    }
  }
  for (u32 i = 0; i < SIDE; i++) sum = crc(sum, (u32)product[i][i], 32);
  return crc(sum, (u32)total, 32);
}

enum state { START, SIGN, DIGITS, FRACTION, EXPONENT, EXPONENT_SIGN, EXPONENT_DIGITS, WRONG, STATES };

static enum state step(enum state state, u8 c) {
  int digit = c >= '0' && c <= '9';
  switch (state) {
    case START: return digit ? DIGITS : c == '+' || c == '-' ? SIGN : c == '.' ? FRACTION : WRONG;
    case SIGN: return digit ? DIGITS : c == '.' ? FRACTION : WRONG;
    case DIGITS: return digit ? DIGITS : c == '.' ? FRACTION : c == 'e' ? EXPONENT : WRONG;
    case FRACTION: return digit ? FRACTION : c == 'e' ? EXPONENT : WRONG;
    case EXPONENT: return digit ? EXPONENT_DIGITS : c == '+' || c == '-' ? EXPONENT_SIGN : WRONG;
    case EXPONENT_SIGN: case EXPONENT_DIGITS: return digit ? EXPONENT_DIGITS : WRONG;
    default: return WRONG;
  }
}

static u16 state_part(u32 seed, u16 sum) {
  static const char words[8][10] = { "5012,", "-874,", "+122,", "35.54400,", ".1234500,", "5.500e+3,", "-.123e-2,", "T0.3e-1F," };
  u32 used = 0, counts[STATES] = { 0 };
  while (used + 10 < TEXT) {
    seed = seed * 1103515245 + 12345;
    for (const char *word = words[seed >> 16 & 7]; *word; word++) text[used++] = (u8)*word;
  }
  enum state state = START;
  for (u32 i = 0; i < used; i++) {
    if (text[i] == ',') { counts[state]++; state = START; }
    else state = step(state, text[i]);
  }
  for (u32 i = 0; i < STATES; i++) sum = crc(sum, counts[i], 16);
  return sum;
}

u64 run_mix(u64 count) {
  u16 sum = 0;
  for (u64 i = 0; i < count; i++) {
    sum = list_part((u32)i + sum, sum);
    sum = matrix_part((u32)i ^ sum, sum);
    sum = state_part((u32)i * 3 + sum, sum);
  }
  return sum;
}
