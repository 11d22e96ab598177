// The formulas of fake_quantize.py and soft_weight.py, each as one pass over the weight instead of many.
//
// A weight is (n_groups, size), contiguous float32; a scale and a zero point belong to each group. Operations stand in the
// order of the plain formulas, and are compiled without contraction, so that every bit is the same.

#include <math.h>
#include <stdint.h>

#define FOR_GROUPS _Pragma("omp parallel for num_threads(threads) schedule(static)") for (int64_t g = 0; g < n_groups; g++)
#define FOR_WEIGHTS for (int64_t i = g * size; i < (g + 1) * size; i++)

static inline float clamp(float x, float low, float high) {
    x = x < low ? low : x;  // in this order, NaN stays NaN
    return x > high ? high : x;
}

static inline float as_float(int truth) { return truth ? 1.0f : 0.0f; }

#define LANES 8
#define SUMS 4
typedef float lanes __attribute__((vector_size(sizeof(float) * LANES), aligned(sizeof(float)), may_alias));

// The sum of n < 8192 numbers in the order of torch.sum, because another order has other bits: in 4 x 8 sums, which are
// put aside after every 16 numbers each.
static inline float sum(const float *x, int64_t n) {
    const lanes *vectors = (const lanes *)x;
    const int64_t n_vectors = n / LANES, rows = n_vectors / SUMS;
    lanes sums[SUMS] = {{0}}, aside[SUMS] = {{0}};
    for (int64_t row = 0; row < rows; row++) {
        for (int k = 0; k < SUMS; k++) sums[k] += vectors[row * SUMS + k];
        if (row % 16 == 15) for (int k = 0; k < SUMS; k++) aside[k] += sums[k], sums[k] = (lanes){0};
    }
    for (int k = 0; k < SUMS; k++) sums[k] += aside[k];
    for (int64_t v = rows * SUMS; v < n_vectors; v++) sums[0] += vectors[v];
    for (int k = 1; k < SUMS; k++) sums[0] += sums[k];
    float total = 0;
    for (int64_t i = n_vectors * LANES; i < n; i++) total += x[i];
    for (int l = 0; l < LANES; l++) total += sums[0][l];
    return total;
}

typedef struct { float scale, low, high, is_wide; } group;  // low and high: the ends of its codes above the zero point

static inline group of_range(float wmin, float wmax, float quant_max, float min_range) {
    const float range = wmax - wmin, scale = clamp(range, min_range, INFINITY) / quant_max;
    const float zero_point = clamp(-rintf(wmin / scale), 0.0f, quant_max);
    return (group){scale, -zero_point, quant_max - zero_point, as_float(range >= min_range)};
}

void fake_quantize(const float *restrict weight, const float *restrict wmin, const float *restrict wmax,
                   float *restrict output, int64_t n_groups, int64_t size, float quant_max, float min_range,
                   int threads) {
    FOR_GROUPS {
        const group q = of_range(wmin[g], wmax[g], quant_max, min_range);
        FOR_WEIGHTS output[i] = clamp(rintf(weight[i] / q.scale), q.low, q.high) * q.scale;
    }
}

// `grad_weight` may be NULL.
void fake_quantize_backward(const float *restrict weight, const float *restrict wmin, const float *restrict wmax,
                            const float *restrict grad, float *restrict grad_wmin, float *restrict grad_wmax,
                            float *restrict grad_weight, int64_t n_groups, int64_t size, float quant_max,
                            float min_range, int threads) {
    FOR_GROUPS {
        const group q = of_range(wmin[g], wmax[g], quant_max, min_range);
        float product[size];
        FOR_WEIGHTS {
            const float ratio = weight[i] / q.scale;
            const float rounded = rintf(ratio);
            const float code = clamp(rounded, q.low, q.high);
            product[i - g * size] = grad[i] * (code - ratio * as_float(rounded == code));
        }
        grad_wmax[g] = sum(product, size) / quant_max * q.is_wide;
        grad_wmin[g] = -grad_wmax[g];
        if (grad_weight) FOR_WEIGHTS {
            const float rounded = rintf(weight[i] / q.scale);
            grad_weight[i] = grad[i] * as_float(rounded == clamp(rounded, q.low, q.high));
        }
    }
}

// `sigmoid` is that of the rounding variables: PyTorch computes it, because no other library has its bits.
void soft_weight(const float *restrict floor, const float *restrict sigmoid, const float *restrict scale,
                 const float *restrict zero_point, float *restrict output, int64_t n_groups, int64_t size,
                 float quant_max, float width, float lowest, int threads) {
    FOR_GROUPS {
        const float s = scale[g], low = -zero_point[g], high = quant_max - zero_point[g];
        FOR_WEIGHTS output[i] = clamp(clamp(sigmoid[i] * width + lowest, 0.0f, 1.0f) + floor[i], low, high) * s;
    }
}

void soft_weight_backward(const float *restrict floor, const float *restrict sigmoid, const float *restrict scale,
                          const float *restrict zero_point, const float *restrict grad, float *restrict grad_scale,
                          float *restrict grad_rounding, int64_t n_groups, int64_t size, float quant_max, float width,
                          float lowest, int threads) {
    FOR_GROUPS {
        const float s = scale[g], low = -zero_point[g], high = quant_max - zero_point[g];
        float product[size];
        FOR_WEIGHTS {
            const float y = sigmoid[i];
            const float stretched = y * width + lowest;
            const float height = clamp(stretched, 0.0f, 1.0f);
            const float above_zero = height + floor[i];
            const float code = clamp(above_zero, low, high);
            const float kept = as_float(stretched == height) * as_float(above_zero == code);
            product[i - g * size] = grad[i] * code;
            grad_rounding[i] = grad[i] * s * (fmaf(-y, y, y) * width * kept);  // addcmul fuses y - y * y
        }
        grad_scale[g] = sum(product, size);
    }
}
