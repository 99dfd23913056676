using Ldr.Runtime.Formats;
using Ldr.Runtime.Geometry;
using Ldr.Runtime.Metrics;
using Ldr.Runtime.Registration;
using Ldr.Runtime.Transforms;

namespace Ldr.Runtime.Groups;

/// <summary>The affine average: all scans aligned with the one that the template begins with, of the mean size.</summary>
internal sealed class AffineRound(TemplateWork work)
{
    /// <summary>Voxels of the template around what the scans show.</summary>
    private const int Margin = 4;

    internal void Run()
    {
        if (work.Folder.TryRound(0) is not null)
        {
            return;
        }

        Volume start = ImageFile.Read(work.Options.Start ?? work.Scans[0].Image);
        work.EachOwn(0, scan => work.Folder.TryRecord(0, scan.Name) is not null, scan => Align(scan, start));
        if (work.IsFirst)
        {
            Average(start);
        }

        work.Await(() => work.Folder.TryRound(0) is not null);
    }

    private void Align(TemplateScan scan, Volume start)
    {
        Volume image = ImageFile.Read(scan.Image);
        (Volume first, Volume second) = Padding.Fill(start, image);
        Affine map = AffineAlignment.Run(
            first,
            second,
            AffineFreedom.Full,
            movingMask: TemplateWork.MaskOf(scan, image.Grid),
            threads: 1,
            cancellation: work.Cancellation).World;
        work.Folder.WriteRecord(0, scan.Name, new TemplateRecord(map, "ok", [], 0));
    }

    private void Average(Volume start)
    {
        (TemplateRecord[] records, _) = work.Records(0);
        Affine back = MeanStretch.Of([.. records.Select(record => record.Map)], work.Weights, start.Grid.Centre).Inverse();
        TransformFile.WriteAffine(TemplateFolder.Made(work.Folder.Stretch(0)), back);
        back = work.Folder.ReadStretch(0);
        Affine[] maps = [.. records.Select(record => back.Then(record.Map))];
        Grid grid = work.Options.Start is null ? GridFor(start.Grid, maps) : start.Grid;
        DisplacementField none = DisplacementField.Zero(grid);
        Volume average = TemplateAverage.Robust(
            grid,
            maps.Length,
            i => TemplateWork.OnGrid(work.Scans[i], none.After(maps[i])),
            work.Weights,
            work.Threads,
            work.Cancellation);
        average.Write(TemplateFolder.Made(work.Folder.Average(0)));
        (double mean, double max) = none.After(back).Lengths();
        work.Folder.WriteRound(new TemplateRound(0, mean, max, TemplateAverage.Sharpness(average), []));
    }

    /// <summary>A grid along the same axes that holds what the scans show, by the median of each side.</summary>
    private Grid GridFor(Grid grid, Affine[] maps)
    {
        double[][] sides = [.. Enumerable.Range(0, 6).Select(_ => new double[maps.Length])];
        EachScan.Fold(maps.Length, work.Threads, work.Cancellation, i => Box(work.Scans[i], maps[i], grid), (i, box) =>
        {
            for (int side = 0; side < 6; side++)
            {
                sides[side][i] = box[side];
            }
        });
        double[] middle = [.. sides.Select(side => Percentile.OfSorted([.. side.Order()], 50))];
        int[] low = [.. middle.Take(3).Select(side => (int)Math.Floor(side) - Margin)];
        int[] size = [.. middle.Skip(3).Select((side, axis) => (int)Math.Ceiling(side) + Margin - low[axis] + 1)];
        return new Grid(size[0], size[1], size[2], Affine.Translation(low[0], low[1], low[2]).Then(grid.VoxelToWorld));
    }

    /// <summary>The least and the largest voxel, along each axis of the template's grid, of what a scan shows.</summary>
    private static double[] Box(TemplateScan scan, Affine map, Grid grid)
    {
        Volume image = ImageFile.Read(scan.Image);
        bool[] content = Content.Of(image);
        Affine back = image.Grid.VoxelToWorld.Then(map.Inverse()).Then(grid.WorldToVoxel);
        double[] box = [double.MaxValue, double.MaxValue, double.MaxValue, double.MinValue, double.MinValue, double.MinValue];
        for (int i = 0; i < content.Length; i++)
        {
            if (!content[i])
            {
                continue;
            }

            (double x, double y, double z) = back.Apply(
                i % image.Grid.Nx, i / image.Grid.Nx % image.Grid.Ny, i / (image.Grid.Nx * image.Grid.Ny));
            box = [
                Math.Min(box[0], x), Math.Min(box[1], y), Math.Min(box[2], z), Math.Max(box[3], x), Math.Max(box[4], y), Math.Max(box[5], z),
            ];
        }

        return box[0] <= box[3]
            ? box
            : throw new InvalidFileException(scan.Image, "shows nothing: all its voxels are alike", "leave it out");
    }
}
