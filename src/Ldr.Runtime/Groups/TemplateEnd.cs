using Ldr.Runtime.Formats;
using Ldr.Runtime.Geometry;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Groups;

/// <summary>What is made of the last round: each scan's transform both ways, the labels, the page, the template.</summary>
internal sealed class TemplateEnd(TemplateWork work)
{
    private readonly TemplateFolder folder = work.Folder;
    private readonly int last = work.Options.Rounds;

    internal void Run()
    {
        Grid grid = ImageFile.ReadGrid(folder.Average(last));
        DisplacementField? shift = last == 0 ? null : DisplacementField.Read(folder.Shift(last));
        Affine? back = last == 0 ? folder.ReadStretch(0) : null;
        DisplacementField TotalOf(TemplateScan scan)
        {
            Affine map = folder.TryRecord(last, scan.Name)!.Map;
            return shift is null
                ? DisplacementField.Zero(grid).After(back!.Then(map))
                : DeformableRound.Total(folder, last, scan.Name, shift, map);
        }

        work.EachOwn(last + 1, scan => File.Exists(folder.Inverse(scan.Name)), scan =>
        {
            DisplacementField field = TotalOf(scan);
            field.Write(TemplateFolder.Made(folder.Transform(scan.Name)));
            new Transform.Inverted(field).ToField(ImageFile.ReadGrid(scan.Image), 1).Write(folder.Inverse(scan.Name));
        });
        if (work.IsFirst)
        {
            WriteLabels(grid);
            ImageFile.Read(folder.Average(last)).Write(folder.Template);
            TemplateRound[] rounds = [.. Enumerable.Range(0, last + 1).Select(round => folder.TryRound(round)).OfType<TemplateRound>()];
            TemplatePage.Write(folder, work.Scans, rounds);
            WriteResult(rounds);
            folder.Forget(last, work.Scans.Select(scan => scan.Name));
        }

        work.Await(() => File.Exists(folder.Result));
    }

    /// <summary>The scans' labels, moved: how many of them, by weight, have each label at each voxel.</summary>
    private void WriteLabels(Grid grid)
    {
        (_, bool[] counts) = work.Records(last);
        TemplateScan[] labelled = [.. work.Scans.Where((scan, i) => scan.Labels is not null && counts[i])];
        if (labelled.Length == 0)
        {
            return;
        }

        Volume[] maps = EachScan.Run(labelled.Length, work.Threads, work.Cancellation, i =>
        {
            Volume map = Atlas.ReadLabels(labelled[i].Labels!);
            return map.Grid.SameAs(ImageFile.ReadGrid(labelled[i].Image))
                ? Resampler.Apply(
                    map, new Transform.Dense(DisplacementField.Read(folder.Transform(labelled[i].Name))), grid, Interpolation.Label, threads: 1)
                : throw new InvalidFileException(
                    labelled[i].Labels!, "lies on another grid than its scan", "give the label map that belongs to it");
        });
        int[] labels = LabelFusion.Distinct(maps);
        LabelProbabilities probabilities = LabelFusion.Majority(
            grid, labels, [.. maps.Select(map => LabelFusion.PlacesOf(map, labels))], [.. labelled.Select(scan => scan.Weight)], work.Threads);
        probabilities.Best().Write(folder.Labels);
        probabilities.BestProbability().Write(folder.LabelProbability);
        EachScan.Run(labels.Length, work.Threads, work.Cancellation, i =>
        {
            probabilities.Of(labels[i]).Write(TemplateFolder.Made(folder.Probability(labels[i])));
            return true;
        });
    }

    private void WriteResult(TemplateRound[] rounds) => JsonText.Write(folder.Result, json =>
    {
        json.WriteNumber("scans", work.Scans.Count);
        json.WriteString("template", "template.nii.gz");
        json.Number("last_mean_deformation_mm", rounds[^1].MeanDeformationMm);
        json.Number("sharpness", rounds[^1].Sharpness);
        json.WriteStartArray("rounds");
        foreach (TemplateRound round in rounds)
        {
            json.WriteStartObject();
            TemplateFolder.WriteRound(json, round);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    });
}
