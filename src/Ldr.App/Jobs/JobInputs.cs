using Ldr.App.Api;
using Ldr.App.Sessions;
using Ldr.Runtime.Formats;
using Ldr.Runtime.Geometry;
using Ldr.Runtime.Registration;
using Ldr.Runtime.Transforms;

namespace Ldr.App.Jobs;

/// <summary>What a job reads, checked as <c>ldr-fs register</c> checks it.</summary>
internal sealed record JobInputs(Volume Fixed, Volume Moving)
{
    public Volume? Labels { get; private init; }

    public Volume? FixedLabels { get; private init; }

    public Volume? FixedMask { get; private init; }

    public Volume? MovingMask { get; private init; }

    public Transform? Init { get; private init; }

    public PointFile? Points { get; private init; }

    /// <exception cref="InvalidFileException">A file cannot be used, and why.</exception>
    public static JobInputs Read(JobRequest request, Inbox inbox, ITransformFormats formats)
    {
        Volume Image(string id) => inbox.Read(inbox.Get(id), request.Volume);

        string fixedPath = inbox.Get(request.Fixed).Path;
        Budget.CheckField(fixedPath, ImageFile.ReadGrid(fixedPath));
        Task<Volume> reading = Task.Run(() => Image(request.Moving));
        Volume fixedScan = Image(request.Fixed);
        Volume moving = reading.GetAwaiter().GetResult();
        Budget.CheckVoxels(fixedPath, fixedScan.Grid);
        Budget.CheckVoxels(inbox.Get(request.Moving).Path, moving.Grid);

        Volume? Beside(string? id, Volume scan, string name, bool labels)
        {
            if (id is null)
            {
                return null;
            }

            string path = inbox.Get(id).Path;
            Volume image = Image(id);
            if (!image.Grid.SameAs(scan.Grid))
            {
                throw new InvalidFileException(path, $"lies on another grid than the {name} scan", labels ? "give the label map that belongs to it" : "give its own mask");
            }

            Check(path, image, labels);
            return image;
        }

        return new JobInputs(fixedScan, moving)
        {
            Labels = Beside(request.Labels, moving, "moving", labels: true),
            FixedLabels = Beside(request.FixedLabels, fixedScan, "fixed", labels: true),
            FixedMask = Beside(request.FixedMask, fixedScan, "fixed", labels: false),
            MovingMask = Beside(request.MovingMask, moving, "moving", labels: false),
            Init = request.Init is null ? null : formats.Read(inbox.Get(request.Init).Path, fixedScan.Grid, moving.Grid),
            Points = request.Points is null ? null : PointFile.Read(inbox.Get(request.Points).Path),
        };
    }

    /// <summary>How well the label maps of a registered pair agree; nothing where not both scans have one.</summary>
    public IReadOnlyList<LabelAgreement> Agreement(RegistrationResult result) =>
        FixedLabels is Volume ofFixed && Labels is Volume ofMoving ? result.CompareLabels(ofFixed, ofMoving) : [];

    /// <summary>What the registrar is asked for, as <c>ldr-fs register</c> asks it.</summary>
    public RegistrationOptions Options(JobRequest request, bool hasModel)
    {
        DisplacementField? startField = null;
        if (Init is not null and not Transform.Linear)
        {
            startField = !hasModel && request.Affine is null or "auto" or "none"
                ? Init.ToField(Fixed.Grid)
                : throw ApiException.Bad("init: holds a displacement field; give an affine map, or choose model none and leave affine out");
        }

        return new RegistrationOptions
        {
            Prealignment = startField is null ? Prealignment(request.Affine, hasModel) : Runtime.Registration.Prealignment.Default,
            Start = (Init as Transform.Linear)?.World,
            StartField = startField,
            Refinement = request is { Refine: null, Budget: null } && hasModel
                ? RefinementOptions.None
                : new RefinementOptions
                {
                    Steps = request.Refine ?? new RefinementOptions().Steps,
                    ControlSpacingMm = request.ControlSpacing,
                    LogJacobian = request.LogJacobian ?? 0,
                    Budget = request.Budget is double seconds ? TimeSpan.FromSeconds(seconds) : null,
                },
            FixedMask = FixedMask,
            MovingMask = MovingMask,
            Diffeomorphic = request.Diffeomorphic
                ? request.JacobianBounds is [double least, double most] ? new JacobianBounds(least, most) : JacobianBounds.NoFolds
                : null,
        };
    }

    private static Prealignment Prealignment(string? affine, bool hasModel) => affine switch
    {
        "none" => Runtime.Registration.Prealignment.World,
        "centres" => Runtime.Registration.Prealignment.Centres,
        "rigid" => Runtime.Registration.Prealignment.Rigid,
        "full" => Runtime.Registration.Prealignment.Full,
        null when hasModel => Runtime.Registration.Prealignment.Default,
        _ => Runtime.Registration.Prealignment.Auto,
    };

    private static void Check(string path, Volume image, bool labels)
    {
        if (labels && Array.FindIndex(image.Values, value => value != MathF.Truncate(value)) is >= 0 and int at)
        {
            throw new InvalidFileException(
                path,
                FormattableString.Invariant($"is no label map: it holds numbers that are not whole, such as {image.Values[at]}"),
                "give the label map that belongs to the scan");
        }

        if (!labels && !Array.Exists(image.Values, value => value > 0))
        {
            throw new InvalidFileException(path, "is empty", "mark what counts with numbers above 0");
        }
    }
}
