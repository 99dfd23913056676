using System.Globalization;
using System.Text;
using System.Text.Json;
using Ldr.Runtime.Formats;
using Ldr.Runtime.Geometry;
using Ldr.Runtime.Metrics;
using Ldr.Runtime.Registration;
using Ldr.Runtime.Registration.Quality;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Reports;

/// <summary>
/// A report on one registered pair: one HTML file with everything in it. It asks no server for anything, and its content security
/// policy forbids that it ever does.
/// </summary>
public static class RegistrationReport
{
    /// <summary>Voxels of each image that a page carries at most: about 10 MB for the three of a noisy CT.</summary>
    private const double MostVoxels = 2_500_000;

    /// <summary>Nodes of the deformed grid along its longest axis, at most.</summary>
    private const int MostLines = 64;

    /// <summary>Growth and shrinking beyond this power of two look the same.</summary>
    private const double MostDoublings = 2;

    /// <summary>Writes the page, atomically.</summary>
    /// <param name="result">The registered pair; its quality is checked where it was not yet.</param>
    /// <param name="path">The file, usually <c>.html</c>.</param>
    /// <param name="options">Names, labels and the command; null for none.</param>
    /// <exception cref="InvalidFileException">The file cannot be written there.</exception>
    public static void WriteReport(this RegistrationResult result, string path, ReportOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(result);
        options ??= new ReportOptions();
        Dictionary<string, string> parts = Text(result, options);
        foreach ((string name, string value) in Pictures(result, options))
        {
            parts.Add(name, value);
        }

        string page = ReportPage.Resource("report.html");
        AtomicFile.Write(path, stream =>
        {
            using StreamWriter writer = new(stream, new UTF8Encoding(false), 1 << 16, leaveOpen: true);
            ReportPage.Write(writer, page, parts);
        });
    }

    private static Dictionary<string, string> Text(RegistrationResult result, ReportOptions options)
    {
        string style = ReportPage.Resource("report.css");
        string script = ReportPage.Resource("report.js");
        string title = result.Verdict switch
        {
            Verdict.Ok => "No sign that anything went wrong",
            Verdict.Look => "Look at it before you use it",
            _ => "Failed: do not use it as it is",
        };
        return new Dictionary<string, string>
        {
            ["style"] = style,
            ["script"] = script,
            ["stylehash"] = ReportPage.Hash(style),
            ["scripthash"] = ReportPage.Hash(script),
            ["fixed"] = ReportPage.Encode(options.FixedName),
            ["moving"] = ReportPage.Encode(options.MovingName),
            ["verdict"] = result.Verdict.Word(),
            ["verdicttitle"] = title,
            ["reasons"] = Reasons(result.Quality.Reasons),
            ["numbers"] = Numbers(ReportNumbers.Of(result)),
            ["scans"] = Scan("Fixed", options.FixedName, result.Fixed.Grid) + Scan("Moving", options.MovingName, result.Moving.Grid),
            ["command"] = ReportPage.Command(options.Command, options.Folder),
            ["outlines"] = options.MovingLabels is null && options.FixedLabels is null ? " hidden" : string.Empty,
            ["fixedoutlines"] = options.FixedLabels is null ? "those of the moved labels" : "its own labels",
            ["bothoutlines"] = options.FixedLabels is null || options.MovingLabels is null ? " hidden" : string.Empty,
            ["labels"] = Labels(result, options),
            ["version"] = ReportPage.Version,
        };
    }

    private static string Reasons(IReadOnlyList<string> reasons) =>
        reasons.Count == 0 ? string.Empty : $"<ul>{string.Concat(reasons.Select(reason => $"<li>{ReportPage.Encode(reason)}</li>"))}</ul>";

    private static string Numbers(IEnumerable<ReportNumber> numbers) => string.Concat(numbers.Select(number =>
        $"<tr><th scope=\"row\">{ReportPage.Encode(number.Name)}</th><td class=\"value\">{ReportPage.Encode(number.Value)}</td>"
        + $"<td class=\"unit\">{ReportPage.Encode(number.Unit)}</td><td class=\"remark\">{ReportPage.Encode(number.Remark)}</td></tr>\n"));

    /// <summary>How well the labels of both scans agree; nothing where one has none.</summary>
    private static string Labels(RegistrationResult result, ReportOptions options)
    {
        if (options.FixedLabels is not Volume fixedLabels || options.MovingLabels is not Volume movingLabels)
        {
            return string.Empty;
        }

        IReadOnlyList<LabelAgreement> labels = result.CompareLabels(fixedLabels, movingLabels);
        if (labels.Count == 0)
        {
            return string.Empty;
        }

        string Row(string name, double before, double after) =>
            $"<tr><th scope=\"row\">{name}</th><td class=\"value\">{ReportNumbers.Text(before, 3)}</td><td class=\"value\">{ReportNumbers.Text(after, 3)}</td></tr>\n";
        string rows = Row("all, mean", labels.Average(label => label.Before.Dice), labels.Average(label => label.After.Dice))
            + string.Concat(labels.Select(label => Row(label.After.Label.ToString(CultureInfo.InvariantCulture), label.Before.Dice, label.After.Dice)));
        return "<section><h2>Labels</h2><p class=\"intro\">Dice: overlap of the fixed scan's labels with the moving scan's, "
            + "after the alignment alone and in the end; 1 is best.</p>"
            + "<div class=\"several\"><table class=\"dice\"><thead><tr><th>Label</th><th>Before</th><th>After</th></tr></thead>"
            + $"<tbody>\n{rows}</tbody></table></div></section>";
    }

    private static string Scan(string role, string name, Grid grid)
    {
        (double x, double y, double z) = grid.Spacing;
        string size = FormattableString.Invariant($"{grid.Nx} × {grid.Ny} × {grid.Nz}");
        string spacing = FormattableString.Invariant($"{x:0.###} × {y:0.###} × {z:0.###} mm");
        return $"<tr><th scope=\"row\">{role}</th><td class=\"name\">{ReportPage.Encode(name)}</td><td>{size}</td><td>{spacing}</td><td>{grid.Orientation}</td></tr>\n";
    }

    private static IEnumerable<(string Name, string Text)> Pictures(RegistrationResult result, ReportOptions options)
    {
        int threads = options.Threads;
        Grid grid = result.Fixed.Grid;
        DisplayGrid display = new(grid, MostVoxels);
        Grid shown = display.Grid;
        Transform.Linear initial = new(result.Initial);

        Volume image = display.Mean(result.Fixed, threads);
        Volume moved = display.Mean(result.Moved, threads);
        (double low, double high) = new IntensityRule.Percentiles(0.5, 99.5).WindowOf(image);
        (double movedLow, double movedHigh) = Matched(image, (low, high), moved);
        yield return ("fixedimage", PackedImage.Smooth(PackedImage.Quantise(image, low, high), shown));

        // The moving scan's own blocks first, so that no detail is skipped; where it has nothing, nothing is shown.
        image = new DisplayGrid(result.Moving.Grid, 4 * MostVoxels).Mean(result.Moving, threads);
        image = Resampler.Apply(image, initial, shown, Interpolation.Linear, float.NegativeInfinity, threads);
        yield return ("movingimage", PackedImage.Smooth(PackedImage.Quantise(image, movedLow, movedHigh), shown));
        yield return ("movedimage", PackedImage.Smooth(PackedImage.Quantise(moved, movedLow, movedHigh), shown));

        yield return ("jacobian", PackedImage.Smooth(VolumeChange(result.Field, display, threads), shown));

        int step = (Math.Max(shown.Nx, Math.Max(shown.Ny, shown.Nz)) + MostLines - 1) / MostLines;
        Grid nodes = Every(shown, step);
        (string vectors, double unit) = PackedImage.Vectors(result.Deformation.ResampleTo(nodes, threads));
        yield return ("vectors", vectors);

        float[] values =
        [
            .. new[] { options.FixedLabels, options.MovingLabels }
                .SelectMany(labels => labels?.Values.Distinct() ?? [])
                .Where(value => value != 0 && float.IsFinite(value)).Distinct().Order().Take(255),
        ];
        string Outlines(Volume? labels, Transform transform) => labels is null
            ? string.Empty
            : PackedImage.Compress(Places(Resampler.Apply(labels, transform, shown, Interpolation.Label, 0, threads), values));
        yield return ("fixedlabels", Outlines(options.FixedLabels, new Transform.Linear(Affine.Identity)));
        yield return ("movinglabels", Outlines(options.MovingLabels, initial));
        yield return ("movedlabels", Outlines(options.MovingLabels, new Transform.Dense(result.Field)));
        yield return ("facts", Facts(shown, nodes, step, unit, values));
    }

    /// <summary>
    /// The window of the moved scan in which the 5th and the 95th percentile of what both scans show are as bright as the fixed scan's: a
    /// checkerboard shows edges, not the scanners. Its own window where that cannot be had.
    /// </summary>
    private static (double Low, double High) Matched(Volume fixedScan, (double Low, double High) window, Volume moved)
    {
        bool[] content = Content.Of(fixedScan);
        bool[] other = Content.Of(moved);
        double[] Range(Volume scan) => Percentile.Of([.. scan.Values.Where((_, i) => content[i] && other[i])], 5, 95);
        double[] own = Range(fixedScan);
        double[] theirs = Range(moved);
        double gain = (theirs[1] - theirs[0]) / (own[1] - own[0]);
        return double.IsFinite(gain) && gain > 0
            ? (theirs[0] + (gain * (window.Low - own[0])), theirs[0] + (gain * (window.High - own[0])))
            : new IntensityRule.Percentiles(0.5, 99.5).WindowOf(moved);
    }

    /// <summary>
    /// Local growth as bytes: 127 for none, 1 and 253 for a quarter and four times; 255 where any voxel of the block folds.
    /// </summary>
    private static byte[] VolumeChange(DisplacementField field, DisplayGrid display, int threads)
    {
        Volume determinants = Jacobian.Determinants(field, threads);
        float[] mean = display.Mean(determinants, threads).Values;
        float[] lowest = display.Lowest(determinants, threads).Values;
        byte[] bytes = new byte[mean.Length];
        for (int i = 0; i < bytes.Length; i++)
        {
            double doublings = Math.Clamp(Math.Log2(mean[i]), -MostDoublings, MostDoublings);
            bytes[i] = lowest[i] > 0 ? (byte)Math.Round(127 + (126 * doublings / MostDoublings)) : (byte)255;
        }

        return bytes;
    }

    /// <summary>Every so manieth node of a lattice along each axis, up to the first beyond its end.</summary>
    private static Grid Every(Grid grid, int step)
    {
        int Count(int size) => ((size + step - 2) / step) + 1;
        return new Grid(
            Count(grid.Nx), Count(grid.Ny), Count(grid.Nz), Affine.Scaling(step, step, step).Then(grid.VoxelToWorld));
    }

    /// <summary>Each label's place in the list, from 1; 0 for the others.</summary>
    private static byte[] Places(Volume labels, float[] values)
    {
        Dictionary<float, byte> places = [];
        foreach (float value in values)
        {
            places[value] = (byte)(places.Count + 1);
        }

        return Array.ConvertAll(labels.Values, value => places.GetValueOrDefault(value));
    }

    private static string Facts(Grid shown, Grid nodes, int step, double unit, float[] labels)
    {
        using MemoryStream stream = new();
        using (Utf8JsonWriter json = new(stream))
        {
            void Numbers(string name, params double[] numbers)
            {
                json.WriteStartArray(name);
                foreach (double number in numbers)
                {
                    json.WriteNumberValue(number);
                }

                json.WriteEndArray();
            }

            json.WriteStartObject();
            (double x, double y, double z) = shown.Spacing;
            Numbers("size", shown.Nx, shown.Ny, shown.Nz);
            Numbers("spacing", x, y, z);
            Numbers("nodes", nodes.Nx, nodes.Ny, nodes.Nz);
            json.WriteNumber("step", step);
            json.WriteNumber("unit", unit);
            json.WriteNumber("doublings", MostDoublings);
            json.WriteStartArray("labels");
            foreach (float label in labels)
            {
                json.WriteStringValue(label.ToString(CultureInfo.InvariantCulture));
            }

            json.WriteEndArray();
            json.WriteEndObject();
        }

        return Encoding.UTF8.GetString(stream.ToArray());
    }
}
