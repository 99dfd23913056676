using System.Diagnostics;
using System.Numerics;
using Ldr.Runtime.Geometry;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Registration;

/// <summary>
/// One level of <see cref="Refinement"/>. The similarity is the mean over voxels w, those where the fixed scan has structure, of cov² / (var_f · var_m) in the box around w;
/// its gradient by the moved value at x is <c>f·B(a) − m·B(b) + B(b·μm − a·μf)</c>, where B is the box mean,
/// a = 2 cov / (var_f var_m) and b = a · cov / var_m.
/// </summary>
internal sealed class RefinementLevel
{
    /// <summary>Keeps flat boxes from mattering: the variance of noise of 1 % of the intensity range.</summary>
    private const float Noise = 1e-4f;


    private readonly Grid grid;
    private readonly RefinementOptions options;
    private readonly float[] f;
    private readonly float[] moving;
    private readonly float[] meanF;
    private readonly float[] varianceF;
    private readonly float[]? weights;
    private readonly double weight;
    private readonly float[]? start;
    private readonly SplineGrid spline;
    private readonly float[] coefficients;
    private readonly float[] gradient;
    private readonly float[] m;
    private readonly float[] a;
    private readonly float[] b;
    private readonly float[] c;
    private readonly BoxMean box;
    private readonly double[] similarities;
    private float[] vectors = [];
    private readonly float[] regularity;

    internal RefinementLevel(
        Volume reference, Volume moved, float[]? weights, DisplacementField? start, double controlMm, RefinementOptions options)
    {
        grid = reference.Grid;
        this.options = options;
        this.weights = weights;
        this.start = start?.Vectors;
        f = reference.Values;
        moving = moved.Values;
        (double sx, double sy, double sz) = grid.Spacing;
        static int Step(double mm, double own, int count) => Math.Clamp((int)Math.Round(mm / own), 1, Math.Max(1, count - 1));
        spline = new SplineGrid(grid, Step(controlMm, sx, grid.Nx), Step(controlMm, sy, grid.Ny), Step(controlMm, sz, grid.Nz));
        coefficients = new float[spline.Count];
        gradient = new float[spline.Count];
        int n = (int)grid.Count;
        m = new float[n];
        a = new float[n];
        b = new float[n];
        c = new float[n];
        similarities = new double[grid.Nz];
        regularity = options.LogJacobian > 0 ? new float[3 * n] : [];
        vectors = new float[regularity.Length];
        box = new BoxMean(grid, options.Radius, options.Threads);
        meanF = (float[])f.Clone();
        varianceF = Array.ConvertAll(f, v => v * v);
        box.Apply(meanF, varianceF);
        double structured = 0;
        for (int i = 0; i < n; i++)
        {
            float variance = Math.Max(0, varianceF[i] - (meanF[i] * meanF[i]));
            varianceF[i] = variance + Noise;

            // Empty background has no structure, and must not dilute what the smoothness is weighed against.
            structured += (weights is null ? 1 : weights[i]) * variance / (variance + Noise);
        }

        weight = Math.Max(1e-3 * n, structured);
    }

    /// <summary>The mean squared local correlation of what is there now.</summary>
    internal double Similarity()
    {
        MoveAll(keep: false);
        return Correlate();
    }

    /// <summary>The whole deformation: what the level started from, and what it added.</summary>
    internal DisplacementField Field()
    {
        vectors = new float[3 * grid.Count];
        MoveAll(keep: true);
        return new DisplacementField(grid, vectors);
    }

    internal int Optimise(int steps, Stopwatch clock, int level, CancellationToken cancellation)
    {
        float[] first = new float[spline.Count];
        float[] second = new float[spline.Count];
        double decayFirst = 1;
        double decaySecond = 1;
        for (int step = 0; step < steps; step++)
        {
            cancellation.ThrowIfCancellationRequested();
            if (options.Budget is TimeSpan budget && clock.Elapsed > budget)
            {
                return step;
            }

            MoveAll(keep: options.LogJacobian > 0);
            double similarity = Correlate();
            options.Progress?.Invoke(level, step, similarity);
            Differentiate();
            Smooth();

            // Adam with a step that shrinks to a tenth.
            decayFirst *= 0.9;
            decaySecond *= 0.99;
            double rate = options.StepVoxels * (1 - (0.9 * step / Math.Max(1, steps - 1)));
            float scaleFirst = (float)(rate / (1 - decayFirst));
            float scaleSecond = (float)(1 / (1 - decaySecond));
            for (int i = 0; i < coefficients.Length; i++)
            {
                float g = gradient[i];
                first[i] += 0.1f * (g - first[i]);
                second[i] += 0.01f * ((g * g) - second[i]);
                coefficients[i] += scaleFirst * first[i] / (MathF.Sqrt(second[i] * scaleSecond) + 1e-8f);
            }
        }

        return steps;
    }

    /// <summary>Warps the moving scan; keeps the displacements when asked.</summary>
    private unsafe void MoveAll(bool keep)
    {
        int nx = grid.Nx;
        int ny = grid.Ny;
        int plane = (int)grid.Count;
        Slices.ForEach(grid, options.Threads, z =>
        {
            float[] scratch = new float[spline.ScratchSize];
            spline.Evaluate(coefficients, z, scratch, (y, rows) =>
            {
                int at = nx * (y + (ny * z));
                for (int channel = 0; channel < 3; channel++)
                {
                    Span<float> row = rows.AsSpan(channel * nx, nx);
                    if (start is not null)
                    {
                        WorkImage.AddScaled(row, start.AsSpan((channel * plane) + at, nx), 1);
                    }

                    if (keep)
                    {
                        row.CopyTo(vectors.AsSpan((channel * plane) + at, nx));
                    }

                    float offset = channel == 1 ? y : channel == 2 ? z : 0;
                    for (int x = 0; x < nx; x++)
                    {
                        row[x] += channel == 0 ? x : offset;
                    }
                }

                fixed (float* source = moving, position = rows, target = m)
                {
                    Trilinear.Sample(
                        source, nx, ny, grid.Nz, 1, position, position + nx, position + (2 * nx), nx, target + at, 0);
                }
            });
        });
    }

    /// <summary>Fills a, b and c with the coefficients of the gradient, box means taken; gives the similarity.</summary>
    private double Correlate()
    {
        int slice = grid.Nx * grid.Ny;
        Slices.ForEach(grid, options.Threads, z =>
        {
            int width = Vector<float>.Count;
            int i = z * slice;
            int end = i + slice;
            for (; i <= end - width; i += width)
            {
                Vector<float> value = new(m, i);
                value.CopyTo(a, i);
                (value * value).CopyTo(b, i);
                (value * new Vector<float>(f, i)).CopyTo(c, i);
            }

            for (; i < end; i++)
            {
                a[i] = m[i];
                b[i] = m[i] * m[i];
                c[i] = m[i] * f[i];
            }
        });
        box.Apply(a, b, c);
        Slices.ForEach(grid, options.Threads, z =>
        {
            int width = Vector<float>.Count;
            int i = z * slice;
            int end = i + slice;
            double total = 0;
            Vector<float> sums = Vector<float>.Zero;
            Vector<float> noise = new(Noise);
            for (; i <= end - width; i += width)
            {
                Vector<float> meanM = new(a, i);
                Vector<float> mean = new(meanF, i);
                Vector<float> variance = Vector.Max(Vector<float>.Zero, new Vector<float>(b, i) - (meanM * meanM)) + noise;
                Vector<float> covariance = new Vector<float>(c, i) - (mean * meanM);
                Vector<float> share = weights is null ? Vector<float>.One : new Vector<float>(weights, i);
                Vector<float> ratio = share * covariance / (variance * new Vector<float>(varianceF, i));
                sums += ratio * covariance;
                Vector<float> second = (ratio + ratio) * covariance / variance;
                Vector<float> first = ratio + ratio;
                first.CopyTo(a, i);
                second.CopyTo(b, i);
                ((second * meanM) - (first * mean)).CopyTo(c, i);
            }

            total += Vector.Sum(sums);
            for (; i < end; i++)
            {
                float meanM = a[i];
                float variance = Math.Max(0, b[i] - (meanM * meanM)) + Noise;
                float covariance = c[i] - (meanF[i] * meanM);
                float ratio = (weights is null ? 1 : weights[i]) * covariance / (variance * varianceF[i]);
                total += ratio * covariance;
                float second = 2 * ratio * covariance / variance;
                a[i] = 2 * ratio;
                b[i] = second;
                c[i] = (second * meanM) - (2 * ratio * meanF[i]);
            }

            similarities[z] = total;
        });
        return similarities.Sum() / weight;
    }

    /// <summary>The gradient by the coefficients, from a, b and c.</summary>
    private void Differentiate()
    {
        box.Apply(a, b, c);
        Penalise();
        int nx = grid.Nx;
        int ny = grid.Ny;
        int slice = nx * ny;
        Slices.ForEach(grid, options.Threads, z =>
        {
            float[] force = new float[nx];
            float[] row = new float[nx];
            float[] line = new float[spline.Cx];
            spline.ClearSlice(z);
            int up = z < grid.Nz - 1 ? slice : 0;
            int down = z > 0 ? -slice : 0;
            for (int y = 0; y < ny; y++)
            {
                int at = (z * slice) + (y * nx);
                for (int x = 0; x < nx; x++)
                {
                    int i = at + x;
                    force[x] = 0.5f * ((f[i] * a[i]) - (m[i] * b[i]) + c[i]);
                }

                for (int x = 0; x < nx; x++)
                {
                    int i = at + x;
                    row[x] = force[x] * (m[x < nx - 1 ? i + 1 : i] - m[x > 0 ? i - 1 : i]);
                }

                Regularise(row, 0, at);
                spline.AddRow(z, y, 0, row, line);
                int next = y < ny - 1 ? nx : 0;
                int previous = y > 0 ? -nx : 0;
                Slope(row, force, at, next, previous);
                Regularise(row, 1, at);
                spline.AddRow(z, y, 1, row, line);
                Slope(row, force, at, up, down);
                Regularise(row, 2, at);
                spline.AddRow(z, y, 2, row, line);
            }
        });
        spline.Collect(gradient);
        float scale = (float)(1 / weight);
        for (int i = 0; i < gradient.Length; i++)
        {
            gradient[i] *= scale * spline.Count / 3;
        }
    }

    /// <summary>Fills <see cref="regularity"/> with the gradient, upwards, of what the penalty on volume changes takes away.</summary>
    private unsafe void Penalise()
    {
        if (options.LogJacobian > 0)
        {
            Array.Clear(regularity);
            fixed (float* field = vectors, to = regularity)
            {
                LogJacobian.AddGradient(field, grid, -options.LogJacobian * weight, to, options.Threads);
            }
        }
    }

    private void Regularise(float[] row, int channel, int at)
    {
        if (regularity.Length > 0)
        {
            WorkImage.AddScaled(row, regularity.AsSpan((channel * (int)grid.Count) + at, row.Length), 1);
        }
    }

    private void Slope(float[] row, float[] force, int at, int next, int previous)
    {
        for (int x = 0; x < row.Length; x++)
        {
            row[x] = force[x] * (m[at + x + next] - m[at + x + previous]);
        }
    }

    /// <summary>Adds the pull of each control point towards the mean of its six neighbours.</summary>
    private void Smooth()
    {
        float strength = (float)options.Smoothness;
        int plane = spline.Cx * spline.Cy;
        for (int channel = 0, i = 0; channel < 3; channel++)
        {
            for (int z = 0; z < spline.Cz; z++)
            {
                for (int y = 0; y < spline.Cy; y++)
                {
                    for (int x = 0; x < spline.Cx; x++, i++)
                    {
                        float own = coefficients[i];
                        float pull = 0;
                        pull += x > 0 ? coefficients[i - 1] - own : 0;
                        pull += x < spline.Cx - 1 ? coefficients[i + 1] - own : 0;
                        pull += y > 0 ? coefficients[i - spline.Cx] - own : 0;
                        pull += y < spline.Cy - 1 ? coefficients[i + spline.Cx] - own : 0;
                        pull += z > 0 ? coefficients[i - plane] - own : 0;
                        pull += z < spline.Cz - 1 ? coefficients[i + plane] - own : 0;
                        gradient[i] += strength * pull;
                    }
                }
            }
        }
    }
}
