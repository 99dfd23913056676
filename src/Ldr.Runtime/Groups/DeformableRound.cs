using Ldr.Runtime.Formats;
using Ldr.Runtime.Geometry;
using Ldr.Runtime.Metrics;
using Ldr.Runtime.Registration;
using Ldr.Runtime.Registration.Quality;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Groups;

/// <summary>
/// A round: every scan is registered to the last average; then the mean deformation is taken away, and the scans are averaged through
/// what is left of their own. A place p of the last average stands at q = S(exp(v̄)(p)) of the next, S the mean stretch of the affine
/// maps: so the mean of the scans' new maps is none.
/// </summary>
internal sealed class DeformableRound(TemplateWork work, Registrar registrar, int round)
{
    internal void Run()
    {
        if (work.Folder.TryRound(round) is not null)
        {
            return;
        }

        Volume template = ImageFile.Read(work.Folder.Average(round - 1));
        work.EachOwn(
            round,
            scan => work.Folder.TryRecord(round, scan.Name) is not null && File.Exists(work.Folder.Field(round, scan.Name)),
            scan => Register(scan, template));
        if (work.IsFirst)
        {
            Average(template);
            work.Folder.Forget(round - 1, work.Scans.Select(scan => scan.Name));
        }

        work.Await(() => work.Folder.TryRound(round) is not null);
    }

    /// <summary>From a template's grid to a scan: its own deformation, and what took the mean away.</summary>
    internal static DisplacementField Total(TemplateFolder folder, int round, string scan, DisplacementField shift, Affine map) =>
        DisplacementField.Compose(DisplacementField.Read(folder.Field(round, scan)), shift, 1).After(map);

    private void Register(TemplateScan scan, Volume template)
    {
        Volume image = ImageFile.Read(scan.Image);
        Affine last = (work.Folder.TryRecord(round - 1, scan.Name)
            ?? throw new InvalidFileException(work.Folder.Record(round - 1, scan.Name), "is missing or damaged", "remove the folder and begin again")).Map;
        Affine start = work.Folder.ReadStretch(round - 1).Then(last);
        RegistrationOptions options = work.Options.Registration with
        {
            // After the first round the alignment stays: another one of each round would move the mean back and forth.
            Prealignment = round == 1 ? Prealignment.Full : new Prealignment.Given(start),
            Start = round == 1 ? start : null,
            StartField = round > 1 && registrar.Predictor is null ? Begun(scan) : null,
            FixedMask = null,
            MovingMask = TemplateWork.MaskOf(scan, image.Grid),
            Threads = 1,
        };
        RegistrationResult result = registrar.Register(template, image, options, null, work.Cancellation);
        result.Deformation.Write(TemplateFolder.Made(work.Folder.Field(round, scan.Name)));
        work.Folder.WriteRecord(round, scan.Name, new TemplateRecord(
            result.Initial, result.Verdict.Word(), result.Quality.Reasons, result.Quality.MeanDeformationMm));
    }

    /// <summary>
    /// The scan's last deformation, in the world of the current average: the round goes on from it, so that only what is new moves.
    /// </summary>
    private DisplacementField Begun(TemplateScan scan) =>
        DisplacementField
            .Compose(DisplacementField.Read(work.Folder.Field(round - 1, scan.Name)), DisplacementField.Read(work.Folder.Shift(round - 1)), 1)
            .After(work.Folder.ReadStretch(round - 1).Inverse());

    private void Average(Volume template)
    {
        (TemplateRecord[] records, bool[] counts) = work.Records(round);
        Volume content = new(template.Grid, Array.ConvertAll(Content.Of(template), shows => shows ? 1f : 0f));
        DisplacementField shift = Shift(template.Grid, records, counts);
        shift.Write(TemplateFolder.Made(work.Folder.Shift(round)));
        shift = DisplacementField.Read(work.Folder.Shift(round));
        Volume average = TemplateAverage.Robust(
            template.Grid,
            records.Length,
            i => counts[i]
                ? TemplateWork.OnGrid(work.Scans[i], Total(work.Folder, round, work.Scans[i].Name, shift, records[i].Map))
                : null,
            work.Weights,
            work.Threads,
            work.Cancellation);
        average = TemplateAverage.Sharpened(average, work.Options.Sharpen, work.Threads);
        average.Write(work.Folder.Average(round));
        (double mean, double max) = shift.Lengths(content);
        string[] leftOut = [.. work.Scans.Where((_, i) => !counts[i]).Select(scan => scan.Name)];
        work.Folder.WriteRound(new TemplateRound(round, mean, max, TemplateAverage.Sharpness(average), leftOut));
    }

    /// <summary>From the next average to the last one.</summary>
    private DisplacementField Shift(Grid grid, TemplateRecord[] records, bool[] counts)
    {
        Affine back = MeanStretch.Of(
            [.. records.Where((_, i) => counts[i]).Select(record => record.Map)], [.. work.Weights.Where((_, i) => counts[i])], grid.Centre).Inverse();
        TransformFile.WriteAffine(work.Folder.Stretch(round), back);
        DisplacementField velocity = MeanDeformation.Velocity(
            records.Length,
            i => counts[i] ? DisplacementField.Read(work.Folder.Field(round, work.Scans[i].Name)) : null,
            work.Weights,
            grid,
            work.Threads,
            work.Cancellation);
        return Transform.Compose(
            new Transform.Dense(MeanDeformation.Undo(velocity, grid, work.Threads)), new Transform.Linear(work.Folder.ReadStretch(round)))
            .ToField(grid, work.Threads);
    }
}
