using System.Diagnostics;
using Ldr.App.Sessions;
using Ldr.Runtime.Formats;
using Ldr.Runtime.Registration;
using Ldr.Runtime.Registration.Quality;
using Ldr.Runtime.Reports;

namespace Ldr.App.Jobs;

/// <summary>Carries a job out: reads its files, calls the <see cref="Registrar"/>, keeps what it found.</summary>
internal sealed class JobRunner(Inbox inbox, ModelRack models, ITransformFormats formats)
{
    /// <summary>Runs a job to its end.</summary>
    /// <param name="job">The job.</param>
    /// <param name="folder">Where its result goes.</param>
    /// <param name="changed">Is told at every stage, and when the result is there; the report is written after that.</param>
    /// <param name="cancellation">Stops it.</param>
    /// <exception cref="InvalidFileException">A file cannot be used.</exception>
    /// <exception cref="OperationCanceledException">It was stopped.</exception>
    public void Run(Job job, JobFolder folder, Action<Job> changed, CancellationToken cancellation)
    {
        Stopwatch clock = Stopwatch.StartNew();
        void Begin(string stage)
        {
            cancellation.ThrowIfCancellationRequested();
            job = job with { Stage = stage, StageStarted = clock.Elapsed.TotalMilliseconds };
            changed(job);
        }

        Begin("reading the scans");
        JobInputs inputs = JobInputs.Read(job.Request, inbox, formats);
        string model = models.Choose(job.Request.WantedModel, inputs.Fixed, inputs.Moving);
        job = job with { Model = model, Command = CommandLine.Of(job.Request, model, inbox) };
        Registrar registrar = models.Registrar(model);
        RegistrationResult result = registrar.Register(
            inputs.Fixed,
            inputs.Moving,
            inputs.Options(job.Request, model != "none") with { Check = false },
            new Told(now => Begin(Words(now))),
            cancellation);

        // It can be looked at while it is judged and kept.
        folder.WriteMoved(result.Moved);
        job = job with { Layers = [JobFolder.MovedLayer] };
        Begin("checking the result");
        Task<RegistrationQuality> judged = Task.Run(() => result.Quality, CancellationToken.None);
        RawResult.Write(folder.Path, result);
        judged.GetAwaiter().GetResult();
        cancellation.ThrowIfCancellationRequested();
        changed(job with
        {
            State = JobState.Done,
            Stage = null,
            Milliseconds = clock.Elapsed.TotalMilliseconds,
            Result = ResultKeys.Of(result, model, inputs.Agreement(result)),
            Downloads = folder.Downloads(job.Request),
            Layers = Layers(job.Request),
        });
        WriteReport(job, inputs, result, Path.Combine(folder.Path, "report.html"));
    }

    private static List<string> Layers(JobRequest request)
    {
        List<string> layers = [JobFolder.MovedLayer, "jacobian", "grid"];
        if (request.Labels is not null)
        {
            layers.Add("labels");
        }

        if (request.FixedLabels is not null)
        {
            layers.Add("fixed_labels");
        }

        return layers;
    }

    private static void WriteReport(Job job, JobInputs inputs, RegistrationResult result, string file) => result.WriteReport(
        file,
        new ReportOptions
        {
            FixedName = job.Fixed.Name,
            MovingName = job.Moving.Name,
            MovingLabels = inputs.Labels,
            FixedLabels = inputs.FixedLabels,
            Command = job.Command ?? string.Empty,
        });

    /// <summary>As <c>ldr-fs register</c> says it.</summary>
    private static string Words(RegistrationProgress now) => now switch
    {
        { Stage: RegistrationStage.Aligning } => "aligning the scans as a whole",
        { Stage: RegistrationStage.Predicting } => "running the network",
        { Stage: RegistrationStage.Refining, Level: int level } => $"refining, level {level}",
        { Stage: RegistrationStage.Refining } => "refining the deformation",
        { Stage: RegistrationStage.Unfolding } => "removing folds",
        { Stage: RegistrationStage.Resampling } => "resampling the moving scan",
        _ => "checking the result",
    };

    private sealed class Told(Action<RegistrationProgress> action) : IProgress<RegistrationProgress>
    {
        public void Report(RegistrationProgress value) => action(value);
    }
}
